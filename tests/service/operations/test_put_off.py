"""Ends of attempts that no job is to blame for, and attempts that brought their job further: what is counted and what is not."""

import pytest

from service.domain.artifacts import Kind
from service.domain.jobs import Job, JobError, State
from service.domain.principals import LOCAL
from service.operations.moves import MOST_PUT_OFF
from tests.service.world import EVERYTHING, World

AWAY = JobError("unavailable", "the store refuses")
CRASH = JobError("child_crashed", "out of ideas")


def put_off(world: World, job: Job) -> Job:
    world.sql("UPDATE jobs SET not_before = '2020-01-01 00:00:00.000' WHERE id = :id", id=job.id)
    claim = world.claim_of(job)
    return world.attempts.put_off(job.id, claim.job.fence, AWAY)


def crash(world: World, job: Job, *, checkpoint: int | None = None) -> Job:
    world.sql("UPDATE jobs SET not_before = '2020-01-01 00:00:00.000' WHERE id = :id", id=job.id)
    fence = world.claim_of(job).job.fence
    if checkpoint is not None:
        world.attempts.keep(job.id, fence, checkpoint, Kind.CHECKPOINT, f"c-{checkpoint}", world.file())
    return world.attempts.fail(job.id, fence, CRASH, cause="child_crashed", retry=True)


class TestPutOff:
    def test_is_not_counted_and_told_with_its_reason(self, world: World) -> None:
        job = put_off(world, world.post())
        assert (job.state, job.failures, job.error, job.attempts[0].cause) == (State.QUEUED, 0, None, "unavailable")
        event = world.jobs.events(LOCAL, job.id).items[-1]
        assert (event.type, event.data) == (
            "job.requeued", {"cause": "unavailable", "code": "unavailable", "message": "the store refuses"}
        )  # fmt: skip

    def test_waits_twice_as_long_each_time_in_a_row(self, world: World) -> None:
        world.attempts = world.worker(backoff_seconds=100)
        job = world.post()
        for wait in (100, 200, 400):
            put_off(world, job)
            assert world.attempts.claim("w", None, EVERYTHING) is None
            assert world.seconds_until_claimable(job) == pytest.approx(wait, abs=10)
        crash(world, job)
        put_off(world, job)
        assert world.seconds_until_claimable(job) == pytest.approx(100, abs=10)

    def test_that_never_ends_is_counted_at_last(self, world: World) -> None:
        """A job whose files the store refuses for ever uses no device for ever."""
        job = world.post()
        for _ in range(MOST_PUT_OFF):
            assert put_off(world, job).failures == 0
        assert [put_off(world, job).failures for _ in range(2)] == [1, 2]
        failed = put_off(world, job)
        assert (failed.state, failed.error) == (State.FAILED, AWAY)

    @pytest.mark.parametrize(("asked", "state"), [("cancel", State.CANCELLED), ("pause", State.PAUSED)])
    def test_of_a_job_that_was_to_stop_is_that(self, world: World, asked: str, state: State) -> None:
        job = world.run()
        getattr(world.jobs, asked)(LOCAL, job.id)
        assert world.attempts.put_off(job.id, job.fence, AWAY).state is state


class TestAnAttemptThatGotFurther:
    """It stored a checkpoint beyond all that were there: what kills a job every few hours kills none that goes on."""

    def test_is_the_first_of_a_new_count(self, world: World) -> None:
        job = world.post()
        failures = [crash(world, job, checkpoint=step).failures for step in (10, 20, 30, 40, 50)]
        assert failures == [1] * 5

    def test_is_so_too_where_its_lease_ran_out(self, world: World) -> None:
        job = world.post()
        crash(world, job)
        crash(world, job)
        fence = world.claim_of(job).job.fence
        world.attempts.keep(job.id, fence, 10, Kind.CHECKPOINT, "c-10", world.file())
        world.end_lease(job)
        world.attempts.reap()
        assert (world.get(job).state, world.get(job).failures) == (State.QUEUED, 1)

    def test_is_none_that_only_made_the_same_steps_again(self, world: World) -> None:
        job = world.post()
        assert crash(world, job, checkpoint=20).failures == 1
        assert crash(world, job, checkpoint=20).failures == 2
        assert crash(world, job, checkpoint=10).state is State.FAILED

    def test_is_none_that_stored_its_beginning(self, world: World) -> None:
        job = world.post()
        assert [crash(world, job, checkpoint=0).failures for _ in range(3)] == [1, 2, 3]
