"""An attempt's writes: taken while it owns its job, refused and without trace once it does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from strop.v1 import jobs_pb2

from service.domain.artifacts import Kind
from service.domain.errors import Conflict, Damaged, FenceLost, InvalidTransition
from service.domain.ids import Fence
from service.domain.jobs import OWNED, Job, JobError, Progress, State, UnreadableRecipe
from service.domain.principals import LOCAL
from service.rpc.messages import fill
from service.wire import shapes
from tests.service.world import World, request, run_at_once

WRITES: dict[str, Callable[[World, Job], Any]] = {
    "heartbeat": lambda world, job: world.attempts.heartbeat(job.id, job.fence),
    "control": lambda world, job: world.attempts.control(job.id, job.fence),
    "record": lambda world, job: world.attempts.record(job.id, job.fence, 1, "job.step", {}, progress=Progress(step=9)),
    "ready": lambda world, job: world.attempts.ready(job.id, job.fence, 0, "cuda"),
    "keep": lambda world, job: world.attempts.keep(job.id, job.fence, 1, Kind.LOG, "log.txt", world.file()),
    "succeed": lambda world, job: world.attempts.succeed(
        job.id, job.fence, training_nfe=1, training_fe=1, code_version="t"
    ),
    "fail": lambda world, job: world.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="x", retry=False),
    "stopped": lambda world, job: world.attempts.stopped(job.id, job.fence, "handed_back"),
}


@pytest.mark.parametrize("verb", WRITES)
class TestAStaleAttempt:
    def test_writes_nothing_after_its_job_was_claimed_again(self, world: World, verb: str) -> None:
        stale = world.run()
        world.end_lease(stale)
        rightful = world.claim("w2").job
        with pytest.raises(FenceLost):
            WRITES[verb](world, stale)
        assert world.get(rightful) == rightful
        assert world.artifacts.list(LOCAL, stale.id) == []

    def test_writes_nothing_after_its_job_ended(self, world: World, verb: str) -> None:
        job = world.run()
        ended = world.attempts.fail(job.id, job.fence, JobError("oom", "out of memory"), cause="oom", retry=False)
        with pytest.raises(FenceLost):
            WRITES[verb](world, job)
        assert world.get(job) == ended

    def test_a_fence_that_never_was_writes_nothing(self, world: World, verb: str) -> None:
        job = world.run()
        with pytest.raises(FenceLost):
            WRITES[verb](world, world.pretending(job, Fence(job.fence + 1)))
        assert world.get(job) == job


class TestHeartbeat:
    def test_renews_the_lease_and_tells_the_state(self, world: World) -> None:
        job = world.run()
        world.end_lease(job)
        assert world.attempts.heartbeat(job.id, job.fence) is State.RUNNING
        assert world.attempts.reap() == 0

    def test_is_no_visible_change(self, world: World) -> None:
        job = world.run()
        world.attempts.heartbeat(job.id, job.fence)
        assert world.jobs.version(LOCAL, job.id) == job.version

    def test_tells_a_cancel(self, world: World) -> None:
        job = world.run()
        world.jobs.cancel(LOCAL, job.id)
        assert world.attempts.heartbeat(job.id, job.fence) is State.CANCELLING
        assert world.attempts.control(job.id, job.fence) is State.CANCELLING


class TestRecord:
    def test_the_event_and_the_progress_are_one(self, world: World) -> None:
        job = world.run()
        progress = Progress(5, 60, 0.25, 800, 960.5, 12.5)
        event = world.attempts.record(job.id, job.fence, 5, "job.step", {"loss": 0.7}, progress=progress)
        assert (event.number, event.fence, event.step, event.data) == (3, 1, 5, {"loss": 0.7})
        assert world.jobs.events(LOCAL, job.id, after=2).items == (event,)
        now = world.get(job)
        assert (now.progress, now.event_count) == (progress, 3)
        assert now.version > job.version
        assert now.updated_at >= job.updated_at

    def test_nan_is_refused_and_leaves_nothing(self, world: World) -> None:
        job = world.run()
        with pytest.raises(ValueError, match="JSON"):
            world.attempts.record(job.id, job.fence, 1, "job.step", {"loss": float("nan")})
        assert world.get(job).event_count == 2

    @pytest.mark.parametrize("text", ["nul \0 byte", "lone \ud800 surrogate", "👁"])
    def test_any_text_of_a_child_is_taken(self, world: World, text: str) -> None:
        job = world.run()
        world.attempts.record(job.id, job.fence, 1, "job.log", {"line": text})
        assert world.jobs.events(LOCAL, job.id, after=2).items[0].data == {"line": text}
        failed = world.attempts.fail(job.id, job.fence, JobError("x", text), cause="x", retry=False)
        assert failed.error is not None

    def test_numbers_have_no_gap_whoever_writes_at_once(self, world: World) -> None:
        job = world.run()
        reports = [lambda: world.attempts.record(job.id, job.fence, 1, "job.step", {})] * 15
        answers = run_at_once([*reports, lambda: world.jobs.cancel(LOCAL, job.id)])
        assert [answer for answer in answers if isinstance(answer, Exception)] == []
        events = world.jobs.events(LOCAL, job.id).items
        assert [event.number for event in events] == list(range(1, 19))
        assert world.get(job).event_count == 18

    def test_a_reader_never_skips_a_number_that_is_written_late(self, world: World) -> None:
        job, seen = world.run(), []

        def follow() -> None:
            while len(seen) < 22:
                for event in world.jobs.events(LOCAL, job.id, after=seen[-1] if seen else 0).items:
                    seen.append(event.number)

        run_at_once([follow, *[lambda: world.attempts.record(job.id, job.fence, 1, "job.step", {})] * 20])
        assert seen == list(range(1, 23))


class TestKeep:
    def test_the_row_says_what_was_stored(self, world: World) -> None:
        job = world.run()
        kept = world.attempts.keep(job.id, job.fence, 3, Kind.SAMPLE, "sample-3.png", world.file(b"picture"))
        assert (kept.key, kept.bytes, kept.step) == (f"jobs/{job.id}/1/sample-3.png", 7, 3)
        assert world.artifacts.list(LOCAL, job.id) == [kept]
        assert b"".join(world.artifacts.read(kept)) == b"picture"
        assert b"".join(world.artifacts.read(kept, 2, 5)) == b"ctu"

    def test_again_the_same_bytes_is_the_same_row(self, world: World) -> None:
        job = world.run()
        once, again = (world.attempts.keep(job.id, job.fence, 1, Kind.LOG, "a.txt", world.file()) for _ in range(2))
        assert once == again

    def test_other_bytes_under_a_kept_name_are_refused_and_the_first_stay(self, world: World) -> None:
        job = world.run()
        kept = world.attempts.keep(job.id, job.fence, 1, Kind.LOG, "a.txt", world.file(b"one"))
        with pytest.raises(Conflict):
            world.attempts.keep(job.id, job.fence, 1, Kind.LOG, "a.txt", world.file(b"two"))
        assert b"".join(world.artifacts.read(kept)) == b"one"

    @pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", ".hidden", "x" * 200])
    def test_a_name_that_leads_elsewhere_is_a_fault(self, world: World, name: str) -> None:
        job = world.run()
        with pytest.raises(ValueError, match="no name"):
            world.attempts.keep(job.id, job.fence, 1, Kind.LOG, name, world.file())

    def test_a_store_that_keeps_other_bytes_is_found_out(self, world: World) -> None:
        job = world.run()
        put = world.store.put_file

        def tears(key: str, path: Path) -> None:
            put(key, world.file(path.read_bytes()[:3], "torn"))

        world.store.put_file = tears  # type: ignore[method-assign]
        with pytest.raises(Damaged):
            world.attempts.keep(job.id, job.fence, 1, Kind.LOG, "a.txt", world.file())
        assert world.artifacts.list(LOCAL, job.id) == []

    def test_a_job_that_is_lost_during_the_upload_gets_no_row(self, world: World) -> None:
        job = world.run()
        put = world.store.put_file

        def slow(key: str, path: Path) -> None:
            put(key, path)
            world.end_lease(job)
            world.attempts.reap()

        world.store.put_file = slow  # type: ignore[method-assign]
        with pytest.raises(FenceLost):
            world.attempts.keep(job.id, job.fence, 1, Kind.LOG, "a.txt", world.file())
        assert world.artifacts.list(LOCAL, job.id) == []
        assert list(world.store.list("jobs/")) == [f"jobs/{job.id}/1/a.txt"]  # an orphan, for the steward


class TestRead:
    def test_brings_the_bytes(self, world: World) -> None:
        job = world.run()
        kept = world.attempts.keep(job.id, job.fence, 1, Kind.CHECKPOINT, "c", world.file(b"state"))
        world.attempts.read(kept, world.folder / "back")
        assert (world.folder / "back").read_bytes() == b"state"

    @pytest.mark.parametrize("damage", ["flipped", "gone"])
    def test_damage_is_found_and_leaves_nothing(self, world: World, damage: str) -> None:
        job = world.run()
        kept = world.attempts.keep(job.id, job.fence, 1, Kind.CHECKPOINT, "c", world.file(b"state"))
        if damage == "flipped":
            world.store.put_file(kept.key, world.file(b"stale"))
        else:
            world.store.delete(kept.key)
        with pytest.raises(Damaged):
            world.attempts.read(kept, world.folder / "back")
        assert not (world.folder / "back").exists()


def test_checkpoints_of_every_fence_come_newest_first(world: World) -> None:
    job = world.run()
    for step in (10, 20):
        world.attempts.keep(job.id, job.fence, step, Kind.CHECKPOINT, f"c-{step}", world.file(b"%d" % step))
    world.end_lease(job)
    second = world.claim()
    world.attempts.keep(job.id, second.job.fence, 20, Kind.CHECKPOINT, "c-20", world.file(b"20"))
    world.attempts.stopped(job.id, second.job.fence, "handed_back")
    third = world.claim()
    assert [(kept.step, kept.fence) for kept in third.checkpoints] == [(20, 2), (20, 1), (10, 1)]
    assert third.checkpoint == third.checkpoints[0]


class TestFail:
    def test_tries_again_while_attempts_are_left(self, world: World) -> None:
        job = world.run()
        after = world.attempts.fail(job.id, job.fence, JobError("oom", "no memory"), cause="child_crashed", retry=True)
        assert (after.state, after.failures, after.error) == (State.QUEUED, 1, None)
        assert after.attempts[0].cause == "child_crashed"
        assert after.attempts[0].ended_at is not None
        event = world.jobs.events(LOCAL, job.id).items[-1]
        assert (event.type, event.data["code"]) == ("job.requeued", "oom")

    def test_is_final_where_another_try_cannot_help(self, world: World) -> None:
        job = world.run()
        after = world.attempts.fail(job.id, job.fence, JobError("nan", "NaN"), cause="nan", retry=False)
        assert (after.state, after.error) == (State.FAILED, JobError("nan", "NaN"))

    def test_keeps_events_and_checkpoints(self, world: World) -> None:
        job = world.run()
        kept = world.attempts.keep(job.id, job.fence, 1, Kind.CHECKPOINT, "c", world.file())
        world.attempts.fail(job.id, job.fence, JobError("nan", "NaN"), cause="nan", retry=False)
        assert world.artifacts.list(LOCAL, job.id) == [kept]

    def test_of_a_cancelled_job_is_its_cancel(self, world: World) -> None:
        job = world.run()
        world.jobs.cancel(LOCAL, job.id)
        after = world.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="child_crashed", retry=True)
        assert (after.state, after.error) == (State.CANCELLED, None)


class TestStopped:
    def test_a_hand_back_is_not_counted(self, world: World) -> None:
        posted = world.post()
        for _ in range(5):
            job = world.claim_of(posted).job
            after = world.attempts.stopped(job.id, job.fence, "handed_back")
        assert (after.state, after.failures, after.fence) == (State.QUEUED, 0, 5)

    def test_a_cancel(self, world: World) -> None:
        job = world.run()
        world.jobs.cancel(LOCAL, job.id)
        after = world.attempts.stopped(job.id, job.fence, "cancelled")
        assert (after.state, after.attempts[0].cause) == (State.CANCELLED, "cancelled")

    def test_a_pause(self, world: World) -> None:
        job = world.run()
        world.sql("UPDATE jobs SET state = 'pausing' WHERE id = :id", id=job.id)
        assert world.attempts.stopped(job.id, job.fence, "paused").state is State.PAUSED

    @pytest.mark.parametrize("cause", ["paused", "handed_back"])
    def test_a_cancel_that_came_meanwhile_wins(self, world: World, cause: Any) -> None:
        job = world.run()
        world.jobs.cancel(LOCAL, job.id)
        after = world.attempts.stopped(job.id, job.fence, cause)
        assert (after.state, after.attempts[0].cause) == (State.CANCELLED, "cancelled")

    @pytest.mark.parametrize("cause", ["cancelled", "paused"])
    def test_what_nobody_asked_for_is_refused(self, world: World, cause: Any) -> None:
        job = world.run()
        with pytest.raises(InvalidTransition):
            world.attempts.stopped(job.id, job.fence, cause)
        assert world.get(job) == job


def test_the_states_that_take_an_attempts_writes() -> None:
    assert {State.RUNNING, State.PAUSING, State.CANCELLING, State.FINALIZING} == OWNED


def test_an_attempt_says_the_device_that_its_child_found(world: World) -> None:
    job = world.run()
    world.attempts.ready(job.id, job.fence, 0, "cpu")
    assert [attempt.device for attempt in world.get(job).attempts] == ["cpu"]


class TestARecipeThatCannotBeRead:
    """Another release wrote it, or an accident: its job ends with the reason, and is shown, listed and cancelled as others are."""

    def broken(self, world: World) -> Job:
        job = world.post(metadata={"mine": "yes"})
        clause = "jsonb_set(recipe::jsonb, '{steps}', '\"many\"')::json"
        if not world.on_postgresql:
            clause = "json_set(recipe, '$.steps', 'many')"
        world.sql(f"UPDATE jobs SET recipe = {clause} WHERE id = :id", id=job.id)
        return job

    def test_ends_its_job_at_the_claim_and_the_next_is_taken(self, world: World) -> None:
        broken, whole = self.broken(world), world.post()
        world.claim_of(whole)
        job = world.get(broken)
        assert (job.state, len(job.attempts), job.attempts[0].cause) == (State.FAILED, 1, "damaged")
        assert job.error is not None
        assert "steps: Input should be a valid integer" in job.error.message

    def test_is_listed_beside_the_others(self, world: World) -> None:
        broken, whole = self.broken(world), world.post()
        assert [job.id for job in world.jobs.list(LOCAL).items] == [whole.id, broken.id]
        shown = shapes.Job.of(world.get(broken))
        assert (shown.metadata, shown.recipe["base_model"], shown.progress.steps) == ({"mine": "yes"}, "shapes", 60)
        assert "cannot be read by this version" in shown.recipe["unreadable"]
        assert "base" not in shown.recipe, "no source paths"
        assert fill(jobs_pb2.Job(), shown).recipe.base_model == "shapes"

    def test_shows_no_more_of_its_prompts_than_another(self, world: World) -> None:
        """As it was stored before rows had a brief of what is shown."""
        many = tuple(f"a red circle number {each}" for each in range(200))
        recipe = world.post(prompts=many[:1], validation={"prompts": many}).recipe.model_dump(mode="json")
        shown = UnreadableRecipe(recipe, "x").public()
        assert (shown["validation"]["prompts"], shown["validation_prompt_count"]) == (list(many[:32]), 200)
        assert shown["validation"]["every"] == 10
        for strange in (None, "x", {"prompts": "x"}, []):
            assert UnreadableRecipe({"validation": strange}, "x").public()["validation"] == strange

    def test_is_no_reason_not_to_cancel(self, world: World) -> None:
        assert world.jobs.cancel(LOCAL, self.broken(world).id).state is State.CANCELLED

    def test_is_told_to_whoever_needs_it(self, world: World) -> None:
        with pytest.raises(Damaged, match="bring every process to the newest version"):
            world.jobs.clone(LOCAL, self.broken(world).id, {}, lambda body: request())
