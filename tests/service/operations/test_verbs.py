"""Pause, resume and retry: what they do to a job, what repeating them does, and whom they wake."""

from typing import Any

import pytest

from service.domain.artifacts import Kind
from service.domain.errors import Conflict, InvalidTransition, NotFound
from service.domain.jobs import Job, JobError, State
from service.domain.principals import LOCAL
from service.domain.verbs import VERBS
from service.operations.jobs import Jobs
from service.operations.once import keyed
from tests.service.world import OTHER, World, run_at_once

BROKEN = JobError("out_of_memory", "Lower the batch.")


def failed(world: World, job: Job) -> Job:
    return world.attempts.fail(job.id, job.fence, BROKEN, cause="out_of_memory", retry=False)


def paused(world: World) -> Job:
    job = world.run()
    world.jobs.pause(LOCAL, job.id)
    return world.attempts.stopped(job.id, job.fence, "paused")


class TestPause:
    def test_asks_a_running_job_to_stop_and_again_changes_nothing(self, world: World) -> None:
        job = world.run()
        asked = world.jobs.pause(LOCAL, job.id)
        assert asked.state is State.PAUSING
        assert world.jobs.pause(LOCAL, job.id) == asked
        assert world.attempts.control(job.id, job.fence) is State.PAUSING
        stopped = world.attempts.stopped(job.id, job.fence, "paused")
        assert stopped.state is State.PAUSED
        assert world.jobs.pause(LOCAL, job.id) == stopped
        assert stopped.failures == 0

    def test_of_a_queued_job_says_what_to_do(self, world: World) -> None:
        with pytest.raises(InvalidTransition, match="cancel it, or pause it once it runs") as refused:
            world.jobs.pause(LOCAL, world.post().id)
        assert refused.value.code == "cannot_pause"

    def test_while_finalizing_is_refused(self, world: World) -> None:
        job = world.run()
        world.sql("UPDATE jobs SET state = 'finalizing' WHERE id = :id", id=job.id)
        with pytest.raises(InvalidTransition, match="its adapter is being stored"):
            world.jobs.pause(LOCAL, job.id)


class TestResume:
    def test_queues_a_paused_job_and_rings(self, world: World) -> None:
        job = paused(world)
        rings = world.bell.rings
        assert world.jobs.resume(LOCAL, job.id).state is State.QUEUED
        assert world.bell.rings == rings + 1
        assert world.claim_of(job).job.fence == job.fence + 1

    def test_is_not_counted_as_an_attempt_that_failed(self, world: World) -> None:
        job = paused(world)
        for _ in range(4):  # the limit is 3
            world.jobs.resume(LOCAL, job.id)
            job = world.claim_of(job).job
            world.jobs.pause(LOCAL, job.id)
            job = world.attempts.stopped(job.id, job.fence, "paused")
        assert (job.state, job.failures, len(job.attempts)) == (State.PAUSED, 0, 5)

    def test_of_a_job_that_goes_on_already_is_refused_without_a_ring(self, world: World) -> None:
        job = paused(world)
        world.jobs.resume(LOCAL, job.id)
        rings = world.bell.rings
        with pytest.raises(InvalidTransition, match="goes on already") as refused:
            world.jobs.resume(LOCAL, job.id)
        assert (refused.value.code, world.bell.rings) == ("cannot_resume", rings)

    def test_before_the_pause_has_come_says_to_wait(self, world: World) -> None:
        job = world.run()
        world.jobs.pause(LOCAL, job.id)
        with pytest.raises(InvalidTransition, match="wait until it is paused"):
            world.jobs.resume(LOCAL, job.id)


class TestAChangedCatalogue:
    """No worker of it takes the job any more: it would wait for ever, and nobody would say so."""

    def jobs_of(self, world: World, **change: Any) -> Jobs:
        base = world.catalogue.bases["shapes"].model_copy(update=change)
        return Jobs(
            world.database, world.bell, world.catalogue.model_copy(update={"bases": {"shapes": base}}), world.store
        )

    @pytest.mark.parametrize("verb", ["resume", "retry"])
    def test_refuses_to_queue_a_job_again_with_the_remedy(self, world: World, verb: str) -> None:
        job = paused(world) if verb == "resume" else failed(world, world.run())
        with pytest.raises(
            Conflict, match=r"base model 'shapes'.*another entry of that name.*clone the job"
        ) as refused:
            getattr(self.jobs_of(world, source="/other"), verb)(LOCAL, job.id)
        assert refused.value.code == "catalogue_changed"
        assert world.get(job) == job
        assert getattr(world.jobs, verb)(LOCAL, job.id).state is State.QUEUED, "where the entry is what it was"

    def test_says_first_what_is_wrong_with_the_job_s_state(self, world: World) -> None:
        job = world.run()
        with pytest.raises(InvalidTransition):
            self.jobs_of(world, source="/other").retry(LOCAL, job.id)

    def test_that_means_the_same_bits_refuses_nothing(self, world: World) -> None:
        job = paused(world)
        assert self.jobs_of(world, description="newer").resume(LOCAL, job.id).state is State.QUEUED

    def test_can_be_cancelled_in(self, world: World) -> None:
        job = paused(world)
        assert self.jobs_of(world, source="/other").cancel(LOCAL, job.id).state is State.CANCELLED

    def test_answers_a_repeated_request_as_before(self, world: World) -> None:
        job = paused(world)
        key = keyed("key", "/jobs/x/resume", b"")
        world.jobs.ask(LOCAL, job.id, VERBS["resume"], key)
        assert self.jobs_of(world, source="/other").ask(LOCAL, job.id, VERBS["resume"], key)[1]


class TestRetry:
    def test_queues_a_failed_job_with_every_attempt_left_and_rings(self, world: World) -> None:
        job = world.run()
        assert failed(world, job).error == BROKEN
        rings = world.bell.rings
        again = world.jobs.retry(LOCAL, job.id)
        assert (again.state, again.failures, again.error) == (State.QUEUED, 0, None)
        assert world.bell.rings == rings + 1
        for _ in range(2):
            claimed = world.claim_of(job).job
            assert world.attempts.fail(
                job.id, claimed.fence, BROKEN, cause="out_of_memory", retry=True
            ).state is State.QUEUED  # fmt: skip
        claimed = world.claim_of(job).job
        assert (
            world.attempts.fail(job.id, claimed.fence, BROKEN, cause="out_of_memory", retry=True).state is State.FAILED
        )

    def test_hands_out_the_checkpoints_of_before(self, world: World) -> None:
        job = world.run()
        kept = world.attempts.keep(job.id, job.fence, 10, Kind.CHECKPOINT, "checkpoint-10", world.file())
        failed(world, job)
        world.jobs.retry(LOCAL, job.id)
        assert world.claim_of(job).checkpoints == (kept,)

    @pytest.mark.parametrize("state", ["queued", "running", "paused", "cancelled"])
    def test_of_a_job_that_has_not_failed_is_refused(self, world: World, state: str) -> None:
        job = {
            "queued": world.post, "running": world.run, "paused": lambda: paused(world),
            "cancelled": lambda: world.jobs.cancel(LOCAL, world.post().id),
        }[state]()  # fmt: skip
        with pytest.raises(InvalidTransition) as refused:
            world.jobs.retry(LOCAL, job.id)
        assert refused.value.code == "cannot_retry"
        assert world.get(job) == job

    def test_of_many_at_once_moves_once(self, world: World) -> None:
        job = world.run()
        failed(world, job)
        answers = run_at_once([lambda: world.jobs.retry(LOCAL, job.id)] * 16)
        assert sum(isinstance(answer, Job) for answer in answers) == 1
        assert {type(answer) for answer in answers} == {Job, InvalidTransition}
        assert world.types(job).count("job.requeued") == 1


def test_events_say_what_was_asked_and_by_whom(world: World) -> None:
    job = paused(world)
    world.jobs.resume(LOCAL, job.id)
    failed(world, world.claim_of(job).job)
    world.jobs.retry(LOCAL, job.id)
    world.jobs.cancel(LOCAL, job.id)
    asked = [event.data for event in world.jobs.events(LOCAL, job.id).items if "by" in event.data]
    assert asked == [{"cause": verb, "by": "local"} for verb in ("pause", "resume", "retry", "cancel")]


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_verb_does_nothing_to_another_tenants_job(world: World, verb) -> None:  # type: ignore[no-untyped-def]
    job = world.run()
    with pytest.raises(NotFound):
        world.jobs.ask(OTHER, job.id, verb)
    assert world.get(job) == job


class TestUnderOneKey:
    def test_a_resume_is_answered_again_where_repeating_it_would_be_refused(self, world: World) -> None:
        job = paused(world)
        key = keyed("k", f"/jobs/{job.id}/resume")
        (first, fresh), (again, replayed) = (world.jobs.ask(LOCAL, job.id, VERBS["resume"], key) for _ in range(2))
        assert (first, fresh, replayed) == (again, False, True)

    def test_a_refused_verb_leaves_the_key_free(self, world: World) -> None:
        job = world.run()
        key = keyed("k", f"/jobs/{job.id}/retry")
        with pytest.raises(InvalidTransition):
            world.jobs.ask(LOCAL, job.id, VERBS["retry"], key)
        failed(world, job)
        assert world.jobs.ask(LOCAL, job.id, VERBS["retry"], key)[1] is False

    def test_many_at_once_move_once_and_are_all_answered(self, world: World) -> None:
        job = world.run()
        failed(world, job)
        key = keyed("k", f"/jobs/{job.id}/retry")
        answers = run_at_once([lambda: world.jobs.ask(LOCAL, job.id, VERBS["retry"], key)] * 50)
        assert [answer for answer in answers if isinstance(answer, Exception)] == []
        assert sum(not replayed for _, replayed in answers) == 1
        assert world.types(job).count("job.requeued") == 1
