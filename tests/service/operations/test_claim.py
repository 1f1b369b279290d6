"""The claim: the next fitting job, by priority, fair share and age; once, whoever asks at the same time."""

import io
import itertools
from dataclasses import replace
from typing import Any

import pytest

from service.domain.catalogue import Catalogue
from service.domain.errors import Damaged, Unavailable
from service.domain.ids import JobId, TenantId
from service.domain.jobs import JobError, State
from service.domain.offers import Offers, model_word
from service.domain.principals import LOCAL, Principal
from service.domain.recipes import RECIPE_FORMAT
from tests.eventually import eventually
from tests.service.world import EVERYTHING, World, run_at_once

ANNE, BERT = Principal(TenantId("anne")), Principal(TenantId("bert"))


def test_takes_the_job_with_a_new_fence_a_lease_and_an_attempt(world: World) -> None:
    posted = world.post()
    claim = world.claim("w7")
    job = claim.job
    assert (job.id, job.state, job.fence) == (posted.id, State.RUNNING, 1)
    assert [(attempt.fence, attempt.worker, attempt.device, attempt.ended_at) for attempt in job.attempts] == [
        (1, "w7", "cpu", None)
    ]
    assert (claim.checkpoint, claim.prompts_file) == (None, None)
    assert world.types(job) == ["job.queued", "job.started"]


def test_nothing_to_do_is_none(world: World) -> None:
    assert world.attempts.claim("w", None, EVERYTHING) is None


def test_two_at_once_one_wins(world: World) -> None:
    world.post()
    claims = run_at_once([lambda: world.attempts.claim("w", "cpu", EVERYTHING)] * 8)
    assert [claim for claim in claims if isinstance(claim, Exception)] == []
    assert sum(claim is not None for claim in claims) == 1


def test_many_at_once_take_each_job_once(world: World) -> None:
    posted = {world.post().id for _ in range(12)}
    claims = run_at_once([lambda: world.attempts.claim("w", "cpu", EVERYTHING)] * 12)
    assert {claim.job.id for claim in claims if claim} == posted


def test_only_what_the_worker_offers(world: World) -> None:
    world.post(reward={"type": "jpeg-compressibility"})
    fitting = world.post(reward={"type": "scene"})
    claim = world.attempts.claim("w", None, Offers(frozenset({"sd"}), frozenset({"scene"})))
    assert claim is not None
    assert claim.job.id == fitting.id
    assert world.attempts.claim("w", None, Offers(frozenset({"sdxl"}), frozenset({"jpeg-compressibility"}))) is None
    assert world.attempts.claim("w", None, Offers(frozenset(), frozenset())) is None


class TestNeeds:
    """A job waits for a worker that has what it needs, and stands in nobody's way meanwhile."""

    OFFERS = Offers(EVERYTHING.families, EVERYTHING.rewards, frozenset({"eu", "gpu=h100"}), 24.0)

    def claims(self, world: World, offers: Offers) -> JobId | None:
        claim = world.attempts.claim("w", None, offers)
        return claim.job.id if claim else None

    @pytest.mark.parametrize(
        "needs",
        [{"labels": ["us"]}, {"labels": ["eu", "us"]}, {"memory_gib": 24.5}, {"memory_gib": 80, "labels": ["eu"]}],
    )
    def test_what_the_worker_lacks_is_passed_over_even_in_front(self, world: World, needs: dict[str, Any]) -> None:
        in_front = world.post(priority=10, needs=needs)
        behind = world.post(priority=-10)
        assert self.claims(world, self.OFFERS) == behind.id
        assert self.claims(world, self.OFFERS) is None
        assert world.get(in_front).state is State.QUEUED

    @pytest.mark.parametrize(
        "needs", [{"labels": ["eu"]}, {"labels": ["gpu=h100", "eu"]}, {"memory_gib": 24}, {"memory_gib": 8.5}]
    )
    def test_what_the_worker_has_is_taken(self, world: World, needs: dict[str, Any]) -> None:
        posted = world.post(needs=needs)
        assert self.claims(world, self.OFFERS) == posted.id

    def test_memory_is_the_base_models_where_the_job_does_not_say(self, world: World) -> None:
        """Of its entry in the catalogue; what the job says is kept, be it less or more."""
        bases = world.catalogue.bases
        large = {"shapes": bases["shapes"].model_copy(update={"memory_gib": 36.0})}
        there = replace(world, catalogue=world.catalogue.model_copy(update={"bases": large}))
        unsaid, more, less = there.post(), there.post(needs={"memory_gib": 48}), there.post(needs={"memory_gib": 24})
        assert self.claims(world, self.OFFERS) == less.id
        assert self.claims(world, self.OFFERS) is None
        assert self.claims(world, replace(self.OFFERS, memory_gib=40.0)) == unsaid.id
        assert self.claims(world, replace(self.OFFERS, memory_gib=80.0)) == more.id

    @pytest.mark.parametrize(
        ("entry", "needs", "enough"), [(14.0, {}, 26.5), (1.0, {}, 1.0), (14.0, {"memory_gib": 8}, 8.0)]
    )
    def test_in_fp32_all_but_cudas_own_is_twice_the_entrys(
        self, entry: float, needs: dict[str, Any], enough: float, world: World
    ) -> None:
        """A model that is smaller than CUDA itself, as the small world's, is no larger for it; what the job says is kept."""
        changed = {"shapes": world.catalogue.bases["shapes"].model_copy(update={"memory_gib": entry})}
        there = replace(world, catalogue=world.catalogue.model_copy(update={"bases": changed}))
        posted = there.post(dtype="fp32", needs=needs)
        assert self.claims(world, replace(self.OFFERS, memory_gib=enough - 0.1)) is None
        assert self.claims(world, replace(self.OFFERS, memory_gib=enough)) == posted.id

    def test_a_worker_that_says_nothing_of_itself_has_neither_labels_nor_memory(self, world: World) -> None:
        world.post(needs={"labels": ["eu"]})
        world.post(needs={"memory_gib": 0.5})
        assert self.claims(world, EVERYTHING) is None

    def test_a_worker_of_the_version_before_passes_over_a_recipe_that_it_could_not_read(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A gateway that was brought up to date first has posted it; an older job is still everybody's."""
        older = world.post()
        monkeypatch.setattr("service.domain.offers.RECIPE_FORMAT", RECIPE_FORMAT + 1)
        newer = world.post(priority=10)
        monkeypatch.undo()
        assert self.claims(world, self.OFFERS) == older.id
        assert self.claims(world, self.OFFERS) is None
        monkeypatch.setattr("service.domain.offers.RECIPE_FORMAT", RECIPE_FORMAT + 1)
        assert self.claims(world, self.OFFERS) == newer.id

    def test_a_label_is_no_family_and_no_reward(self, world: World) -> None:
        world.post(needs={"labels": ["sd"]})
        assert self.claims(world, self.OFFERS) is None


class TestOrder:
    def test_age_within_a_tenant(self, world: World) -> None:
        posted = [world.post().id for _ in range(3)]
        assert [world.claim().job.id for _ in range(3)] == posted

    def test_priority_before_everything(self, world: World) -> None:
        low, high = world.post(BERT, priority=-1), world.post(ANNE, priority=5)
        world.post(ANNE)
        world.claim_of(high)
        normal = world.claim().job
        assert normal.recipe.priority == 0
        world.claim_of(low)

    def test_the_tenant_with_fewer_running_jobs_first_though_it_was_served_last(self, world: World) -> None:
        world.claim_of(world.post(ANNE))
        done = world.claim_of(world.post(BERT)).job
        world.attempts.fail(done.id, done.fence, JobError("x", "x"), cause="x", retry=False)
        second_of_anne, second_of_bert = world.post(ANNE), world.post(BERT)
        world.claim_of(second_of_bert)
        world.claim_of(second_of_anne)

    def test_among_equals_the_longest_unserved(self, world: World) -> None:
        for principal in (ANNE, BERT):
            job = world.claim_of(world.post(principal)).job
            world.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="x", retry=False)
        newer_of_bert = world.post(BERT)
        older_wait = world.post(ANNE)
        world.claim_of(older_wait)
        world.claim_of(newer_of_bert)


class TestFairShare:
    def test_a_tenant_with_many_jobs_starves_no_other(self, world: World) -> None:
        many = [world.post(ANNE).id for _ in range(100)]
        late = [world.post(BERT).id for _ in range(3)]
        taken = [world.claim().job.id for _ in range(8)]
        assert [job for job in taken if job in late] == late, "each in its tenant's own order"
        assert {taken.index(job) for job in late} == {1, 3, 5}, "turn by turn, while both have some"
        assert [job for job in taken if job in many] == many[:5]

    def test_whose_jobs_are_short_gets_no_more_turns_than_whose_are_long(self, world: World) -> None:
        """One worker, jobs that end at once: nobody runs two, so the longest unserved is next."""
        for _ in range(6):
            world.post(ANNE)
        for _ in range(3):
            world.post(BERT)
        order = []
        for _ in range(6):
            job = world.claim().job
            world.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="x", retry=False)
            order.append(job.tenant)
        assert order == [ANNE.tenant, BERT.tenant] * 3

    def test_it_counts_what_runs_not_what_waits_or_is_done(self, world: World) -> None:
        for _ in range(2):
            job = world.claim_of(world.post(ANNE)).job
            world.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="x", retry=False)
        running = world.claim_of(world.post(BERT)).job
        second_of_bert, third_of_anne = world.post(BERT), world.post(ANNE)
        world.claim_of(third_of_anne)
        world.attempts.stopped(running.id, running.fence, "handed_back")
        assert world.claim().job.id == running.id, "handed back, it is the oldest of a tenant that runs none"
        assert world.get(second_of_bert).state is State.QUEUED


class TestReapsFirst:
    def test_a_lost_job_is_claimed_again_by_whoever_comes(self, world: World) -> None:
        job = world.run()
        world.end_lease(job)
        again = world.claim("w2").job
        assert (again.id, again.fence, again.state) == (job.id, 2, State.RUNNING)
        assert [(attempt.worker, attempt.cause) for attempt in again.attempts] == [("w1", "lease_lost"), ("w2", None)]
        assert world.types(job) == ["job.queued", "job.started", "job.requeued", "job.started"]

    def test_a_lease_that_has_not_ended_is_left_alone(self, world: World) -> None:
        job = world.run()
        assert world.attempts.reap() == 0
        assert world.get(job).state is State.RUNNING

    def test_leases_end_by_the_clock_of_the_database(self, world: World) -> None:
        world.attempts = world.worker(lease_seconds=0.05)
        job = world.run()
        assert eventually(world.attempts.reap) == 1
        assert world.get(job).state is State.QUEUED

    def test_the_limit_of_attempts_ends_it_failed_with_its_history(self, world: World) -> None:
        posted = world.post()
        for _ in range(3):
            world.end_lease(world.claim_of(posted).job)
        assert world.attempts.claim("w", None, EVERYTHING) is None
        job = world.get(posted)
        assert (job.state, job.failures, job.fence) == (State.FAILED, 3, 3)
        assert job.error is not None
        assert job.error.code == "lease_lost"
        assert [attempt.cause for attempt in job.attempts] == ["lease_lost"] * 3

    def test_a_cancelling_job_is_cancelled_and_a_pausing_one_paused(self, world: World) -> None:
        cancelled, paused = world.run(), world.run()
        world.jobs.cancel(Principal(cancelled.tenant), cancelled.id)
        world.sql("UPDATE jobs SET state = 'pausing' WHERE id = :id", id=paused.id)
        world.end_lease(cancelled)
        world.end_lease(paused)
        assert world.attempts.reap() == 2
        assert (world.get(cancelled).state, world.get(paused).state) == (State.CANCELLED, State.PAUSED)

    def test_two_reapers_end_an_attempt_once(self, world: World) -> None:
        job = world.run()
        world.end_lease(job)
        reaped = run_at_once([world.attempts.reap] * 4)
        assert sorted(reaped) == [0, 0, 0, 1]
        assert world.get(job).failures == 1


class TestBackOff:
    def test_a_failed_attempt_waits_twice_as_long_each_time(self, world: World) -> None:
        world.attempts = world.worker(backoff_seconds=100, attempt_limit=5)
        posted = world.post()
        for wait in (100, 200, 400):
            job = world.claim_of(posted).job
            world.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="child_crashed", retry=True)
            assert world.attempts.claim("w", None, EVERYTHING) is None
            assert world.seconds_until_claimable(job) == pytest.approx(wait, abs=10)
            world.sql("UPDATE jobs SET not_before = '2020-01-01 00:00:00.000' WHERE id = :id", id=job.id)

    def test_a_handed_back_job_does_not_wait(self, world: World) -> None:
        world.attempts = world.worker(backoff_seconds=100)
        job = world.run()
        world.attempts.stopped(job.id, job.fence, "handed_back")
        world.claim_of(job)


def test_reads_nothing_from_the_store_which_may_be_slow_or_away_while_nobody_renews_the_lease(world: World) -> None:
    file = world.files.upload(LOCAL, "p.txt", io.BytesIO(b"a cat"))[0]
    job = world.post(prompts=None, prompts_file=file.id)
    world.store.delete(file.key)
    claim = world.claim_of(job)
    assert claim.prompts_file == file
    with pytest.raises(Damaged):
        world.attempts.read_prompts(file, world.folder / "prompts")


def test_the_lease_of_a_job_counts_from_before_its_own_taking_not_from_that_of_one_that_was_ended_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = world.files.upload(LOCAL, "p.txt", io.BytesIO(b"a cat"))[0]
    world.post(prompts=None, prompts_file=file.id)
    world.sql("DELETE FROM files WHERE id = :id", id=file.id)
    whole = world.post()
    ticks = itertools.count()
    monkeypatch.setattr("service.operations.attempts.monotonic", lambda: float(next(ticks)))
    assert world.claim_of(whole).claimed_at == 1.0, "the second look at the clock"


def test_a_job_that_names_what_is_gone_is_ended_and_the_next_one_taken(world: World) -> None:
    file = world.files.upload(LOCAL, "p.txt", io.BytesIO(b"a cat"))[0]
    broken, whole = world.post(prompts=None, prompts_file=file.id), world.post()
    world.sql("DELETE FROM files WHERE id = :id", id=file.id)
    world.claim_of(whole)
    job = world.get(broken)
    assert (job.state, job.error.code if job.error else None) == (State.FAILED, "damaged")


def test_a_database_that_goes_away_between_claim_and_reading_costs_the_job_no_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.post()

    def away() -> Any:
        raise Unavailable

    with monkeypatch.context() as patched:
        patched.setattr(world.database, "read", away)
        with pytest.raises(Unavailable):
            world.attempts.claim("w", None, EVERYTHING)
    assert (world.get(job).state, world.get(job).failures) == (State.QUEUED, 0)


class TestModels:
    """A worker that cannot stage a job's models passes it over: it would fail in no time, and take the whole queue along."""

    def offers(self, catalogue: Catalogue) -> Offers:
        entries = (*catalogue.bases.values(), *catalogue.rewards.values())
        return replace(EVERYTHING, models=frozenset(model_word(entry) for entry in entries))

    def test_that_it_has_are_taken(self, world: World) -> None:
        job = world.post()
        claim = world.attempts.claim("w", None, self.offers(world.catalogue))
        assert claim is not None
        assert claim.job.id == job.id

    @pytest.mark.parametrize(
        "change", [{"source": "/other"}, {"revision": "2"}, {"family": "sdxl"}, {"resolution": 32}]
    )
    def test_of_which_it_has_others_under_the_name_are_passed_over(self, world: World, change: dict[str, Any]) -> None:
        world.post()
        other = Catalogue(
            bases={"shapes": world.catalogue.bases["shapes"].model_copy(update=change)}, rewards=world.catalogue.rewards
        )
        assert world.attempts.claim("w", None, self.offers(other)) is None

    @pytest.mark.parametrize("lacking", ["bases", "rewards"])
    def test_that_it_lacks_are_passed_over(self, world: World, lacking: str) -> None:
        world.post()
        assert world.attempts.claim("w", None, self.offers(world.catalogue.model_copy(update={lacking: {}}))) is None

    def test_words_about_them_do_not_count(self, world: World) -> None:
        """A release that corrects a description hands no job on for ever."""
        job = world.post()
        said = {"description": "better", "licence": "MIT", "guidance_scale": 2.0, "num_inference_steps": 9}
        other = Catalogue(
            bases={"shapes": world.catalogue.bases["shapes"].model_copy(update=said)}, rewards=world.catalogue.rewards
        )
        claim = world.attempts.claim("w", None, self.offers(other))
        assert claim is not None
        assert claim.job.id == job.id

    def test_are_not_asked_for_by_a_job_of_an_older_release(self, world: World) -> None:
        job = world.post()
        world.sql("DELETE FROM job_needs WHERE need LIKE 'model:%'")
        claim = world.attempts.claim("w", None, self.offers(Catalogue()))
        assert claim is not None
        assert claim.job.id == job.id

    def test_words_are_those_that_stored_jobs_carry(self, world: World) -> None:
        """Another digest for the same entry would leave every queued job without a worker."""
        assert model_word(world.catalogue.bases["shapes"]) == "model:base:shapes:ed7d70192d278901"
        assert model_word(world.catalogue.rewards["shapes-clip"]) == "model:reward:shapes-clip:54363ce585817e60"
