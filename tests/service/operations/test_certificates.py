"""A certificate: which steps it replays, what its worker is handed, and how it ends."""

import hashlib
from typing import Any

import pytest

from service.domain.artifacts import Kind
from service.domain.errors import Conflict, FenceLost, InvalidRequest, InvalidTransition
from service.domain.jobs import Job, State
from service.domain.principals import LOCAL
from service.domain.recipes import CertificateRequest, Recipe
from service.operations.deriving import certificate_recipe
from service.operations.jobs import Jobs
from tests.service.world import EVERYTHING, World


def trained(world: World, *steps: int, **changes: object) -> Job:
    """A running job that has kept a checkpoint at each of these steps."""
    job = world.run(**changes)
    for step in steps:
        keep(world, job, step)
    return job


def keep(world: World, job: Job, step: int) -> None:
    content = f"state at {step}".encode()
    world.attempts.keep(job.id, job.fence, step, Kind.CHECKPOINT, f"checkpoint-{step}", world.file(content))


def digest(step: int) -> str:
    return hashlib.sha256(f"state at {step}".encode()).hexdigest()


def certificate(world: World, parent: Job, **asked: int) -> Job:
    return world.jobs.certify(LOCAL, parent.id, CertificateRequest(**asked))[0]


class TestWhatIsReplayed:
    @pytest.mark.parametrize(
        ("asked", "span"),
        [
            ({}, (30, 45)),
            ({"from_step": 10}, (10, 20)),
            ({"from_step": 10, "steps": 20}, (10, 30)),
            ({"steps": 10}, (20, 30)),
            ({"steps": 35}, (10, 45)),
        ],
    )
    def test_is_what_was_asked_for_else_the_last_stretch(
        self, world: World, asked: dict[str, int], span: tuple[int, int]
    ) -> None:
        parent = trained(world, 10, 20, 30, 45)
        replay = certificate(world, parent, **asked).recipe.replay
        assert replay is not None
        assert (replay.checkpoint_step, replay.to_step) == span
        assert (replay.checkpoint_fence, replay.expected_sha256) == (parent.fence, digest(span[1]))

    @pytest.mark.parametrize(
        ("asked", "path"),
        [({"from_step": 15}, "from_step"), ({"from_step": 30}, "from_step"), ({"from_step": 10, "steps": 5}, "steps"), ({"steps": 25}, "steps")],
    )  # fmt: skip
    def test_must_be_stored(self, world: World, asked: dict[str, int], path: str) -> None:
        parent = trained(world, 10, 20, 30)
        with pytest.raises(InvalidRequest) as refused:
            certificate(world, parent, **asked)
        assert refused.value.code == "unknown_checkpoint"
        assert [(each.path, each.remedy.endswith("10, 20, 30")) for each in refused.value.errors] == [(path, True)]

    @pytest.mark.parametrize("device", ["cuda:0 (NVIDIA H100)", "cuda", "mps"])
    def test_was_trained_on_a_cpu(self, world: World, device: str) -> None:
        """A GPU's bits are promised to nobody: a replay would find others, and say no more than that."""
        parent = trained(world, 10, 20)
        world.attempts.ready(parent.id, parent.fence, 0, device)
        with pytest.raises(Conflict, match="the same kind of CPU only") as refused:
            certificate(world, parent)
        assert refused.value.code == "not_trained_on_cpu"
        assert device in refused.value.message

    def test_counts_the_attempts_between_its_checkpoints_only(self, world: World) -> None:
        """Trained on a CPU, then on a GPU, then on CPUs again: what the last of them did can be replayed."""
        parent, steps = world.post(), iter((10, 20, 30, 40))
        for device in ("cpu", "cuda:0 (NVIDIA H100)", "cpu"):
            held = world.claim().job
            world.attempts.ready(held.id, held.fence, 0, device)
            keep(world, held, next(steps))
            if held.fence < 3:
                world.attempts.stopped(held.id, held.fence, "handed_back")
        keep(world, held, next(steps))
        with pytest.raises(Conflict):
            certificate(world, parent, from_step=10, steps=20)
        assert certificate(world, parent, from_step=30).recipe.replay is not None

    def hopping(self, world: World, *, tells: bool) -> Job:
        """CPU, then a GPU's worker that hands it back (claimed with its STROP_DEVICE), then CPU."""
        parent = world.post()
        for device, steps in (("cpu", (10,)), ("cuda", ()), ("cpu", (20,))):
            claim = world.attempts.claim("w", device, EVERYTHING)
            assert claim is not None
            held = claim.job
            for step in steps:
                world.attempts.record(held.id, held.fence, step, "job.step", {})
                keep(world, held, step)
            if tells and not steps:
                world.attempts.record(held.id, held.fence, 15, "job.step", {})
            world.attempts.stopped(held.id, held.fence, "handed_back")
        return parent

    def test_is_no_matter_of_an_attempt_that_trained_nothing(self, world: World) -> None:
        replay = certificate(world, self.hopping(world, tells=False)).recipe.replay
        assert replay is not None
        assert (replay.checkpoint_step, replay.to_step) == (10, 20)

    def test_is_one_of_an_attempt_whose_checkpoint_was_thinned_away(self, world: World) -> None:
        with pytest.raises(Conflict, match="were trained on cuda"):
            certificate(world, self.hopping(world, tells=True))

    def test_counts_every_attempt_once_their_steps_events_are_trimmed(self, world: World) -> None:
        parent = self.hopping(world, tells=False)
        world.sql("DELETE FROM events WHERE type = 'job.step'")
        with pytest.raises(Conflict, match="were trained on cuda"):
            certificate(world, parent)

    @pytest.mark.parametrize("steps", [(), (10,)])
    def test_needs_two_checkpoints(self, world: World, steps: tuple[int, ...]) -> None:
        parent = trained(world, *steps)
        with pytest.raises(Conflict, match="smaller checkpoint_every") as refused:
            certificate(world, parent)
        assert refused.value.code == "too_few_checkpoints"
        assert len(world.jobs.list(LOCAL).items) == 1

    def test_must_still_be_stored_when_the_certificate_is_written(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def as_it_is_removed(*given: Any) -> Recipe:
            recipe = certificate_recipe(*given)
            world.sql("DELETE FROM artifacts")
            return recipe

        monkeypatch.setattr("service.operations.jobs.certificate_recipe", as_it_is_removed)
        parent = trained(world, 10, 20)
        with pytest.raises(Conflict) as refused:
            certificate(world, parent)
        assert refused.value.code == "too_few_checkpoints"
        assert [job.id for job in world.jobs.list(LOCAL).items] == [parent.id]

    def test_where_a_step_was_run_twice_is_the_later_attempts(self, world: World) -> None:
        parent = trained(world, 10, 20)
        world.end_lease(parent)
        again = world.claim_of(parent).job
        keep(world, again, 20)
        keep(world, again, 30)
        replay = certificate(world, parent).recipe.replay
        assert replay is not None
        assert (replay.checkpoint_step, replay.checkpoint_fence) == (20, again.fence)


class TestTheJob:
    def test_is_a_certificate_with_its_parents_recipe(self, world: World) -> None:
        parent = trained(world, 10, 20, adapter_name="red", max_nfe=100, metadata={"run": "1"})
        job = certificate(world, parent)
        assert (job.kind, job.parent, job.state) == ("certificate", parent.id, State.QUEUED)
        assert job.progress.steps == 20
        own = {"parent_id", "replay", "priority", "adapter_name", "max_seconds", "max_nfe", "metadata"}
        assert job.recipe.model_dump(exclude=own) == parent.recipe.model_dump(exclude=own)
        assert (job.recipe.priority, job.recipe.adapter_name, job.recipe.max_nfe, job.metadata) == (-5, None, None, {})

    def test_waits_behind_training_unless_told_otherwise(self, world: World) -> None:
        parent = trained(world, 10, 20)
        behind, training, before = certificate(world, parent), world.post(), certificate(world, parent, priority=1)
        assert [world.claim().job.id for _ in range(3)] == [before.id, training.id, behind.id]

    def test_is_listed_by_its_kind(self, world: World) -> None:
        parent = trained(world, 10, 20)
        job = certificate(world, parent)
        for kind, found in ((job.kind, job), (parent.kind, parent)):
            assert [each.id for each in world.jobs.list(LOCAL, kind=kind).items] == [found.id]
        assert [each.id for each in world.jobs.list(LOCAL, kind=job.kind, state=State.RUNNING).items] == []

    def test_is_handed_the_one_checkpoint_that_it_begins_with(self, world: World) -> None:
        parent = trained(world, 10, 20, 30)
        claim = world.claim_of(certificate(world, parent))
        assert [(each.job, each.step) for each in claim.checkpoints] == [(parent.id, 20)]
        assert claim.job.recipe.prompts == parent.recipe.prompts

    def test_has_no_certificate_of_its_own(self, world: World) -> None:
        job = certificate(world, trained(world, 10, 20))
        with pytest.raises(Conflict):
            certificate(world, job)


class TestTheEnd:
    def certify(self, world: World, job: Job, found: str) -> Job:
        return world.attempts.certify(job.id, job.fence, found_sha256=found, training_nfe=80, training_fe=95.5)

    @pytest.mark.parametrize("holds", [True, False])
    def test_is_told_by_the_job_its_event_and_its_parent(self, world: World, holds: bool) -> None:
        parent = trained(world, 10, 20)
        job = world.claim_of(certificate(world, parent)).job
        before = world.jobs.version(LOCAL, parent.id)
        done = self.certify(world, job, found := digest(20) if holds else "f" * 64)
        assert (done.state, done.adapter, done.stop_reason, done.attempts[0].cause) == (
            State.SUCCEEDED, None, "completed", "succeeded",
        )  # fmt: skip
        assert done.certificate is not None
        assert (done.certificate.from_step, done.certificate.to_step, done.certificate.holds) == (10, 20, holds)
        assert (done.certificate.expected_sha256, done.certificate.found_sha256) == (digest(20), found)
        assert (done.progress.step, done.progress.training_nfe, done.progress.training_fe) == (20, 80, 95.5)
        assert world.types(job)[-2:] == ["job.finalizing", "job.succeeded"]
        assert world.get(parent).certificates == (done.certificate,)
        told = world.jobs.events(LOCAL, parent.id).items[-1]
        assert (told.type, told.data["job"], told.data["holds"]) == ("job.certified", job.id, holds)
        assert world.jobs.version(LOCAL, parent.id) > before

    def test_of_several_the_newest_is_shown_first(self, world: World) -> None:
        parent = trained(world, 10, 20, 30)
        made = [certificate(world, parent, from_step=step, priority=5) for step in (10, 20)]
        for job in made:
            self.certify(world, world.claim_of(job).job, digest(30))
        assert [each.job for each in world.get(parent).certificates] == [job.id for job in reversed(made)]
        assert [job.certificates for job in world.jobs.list(LOCAL).items] == [(), (), world.get(parent).certificates]

    def test_of_a_stale_attempt_changes_nothing(self, world: World) -> None:
        parent = trained(world, 10, 20)
        job = world.claim_of(certificate(world, parent, priority=5)).job
        world.end_lease(job)
        again = world.claim_of(job).job
        with pytest.raises(FenceLost):
            self.certify(world, job, digest(20))
        assert world.get(job) == again
        assert world.get(parent).certificates == ()

    def test_after_a_cancel_is_the_cancels(self, world: World) -> None:
        parent = trained(world, 10, 20)
        job = world.claim_of(certificate(world, parent)).job
        world.jobs.cancel(LOCAL, job.id)
        with pytest.raises(InvalidTransition):
            self.certify(world, job, digest(20))
        assert world.attempts.stopped(job.id, job.fence, "cancelled").state is State.CANCELLED

    def test_of_a_job_that_is_none_is_refused(self, world: World) -> None:
        job = trained(world, 10, 20)
        with pytest.raises(Conflict) as refused:
            self.certify(world, job, digest(20))
        assert refused.value.code == "not_a_certificate"
        assert world.get(job).state is State.RUNNING


def test_a_job_that_stopped_early_says_why(world: World) -> None:
    job = world.run(max_nfe=100)
    world.attempts.keep(job.id, job.fence, 3, Kind.ADAPTER, "adapter.safetensors", world.file())
    done = world.attempts.succeed(
        job.id, job.fence, training_nfe=104, training_fe=110.0, code_version="1", reason="max_nfe"
    )
    assert (done.state, done.stop_reason) == (State.SUCCEEDED, "max_nfe")
    assert world.jobs.events(LOCAL, job.id).items[-1].data["reason"] == "max_nfe"


class TestAChangedCatalogue:
    def test_refuses_what_no_worker_would_take(self, world: World) -> None:
        parent = trained(world, 10, 20)
        base = world.catalogue.bases["shapes"].model_copy(update={"revision": "another"})
        changed = world.catalogue.model_copy(update={"bases": {"shapes": base}})
        jobs = Jobs(world.database, world.bell, changed, world.store)
        with pytest.raises(Conflict, match=r"bring the entry back.*certify a clone") as refused:
            jobs.certify(LOCAL, parent.id, CertificateRequest())
        assert refused.value.code == "catalogue_changed"
        assert [job.id for job in world.jobs.list(LOCAL).items] == [parent.id]
