"""Cancel: at once where nobody works on it, asked for where somebody does; again is no error."""

import pytest

from service.domain.errors import InvalidTransition
from service.domain.jobs import JobError, State
from service.domain.principals import LOCAL
from tests.service.world import EVERYTHING, World, run_at_once


def test_a_queued_job_is_cancelled_at_once_and_never_claimed(world: World) -> None:
    job = world.post()
    assert world.jobs.cancel(LOCAL, job.id).state is State.CANCELLED
    assert world.attempts.claim("w", None, EVERYTHING) is None
    assert world.types(job) == ["job.queued", "job.cancelled"]


def test_a_running_job_is_asked_to_stop(world: World) -> None:
    job = world.run()
    assert world.jobs.cancel(LOCAL, job.id).state is State.CANCELLING
    assert world.types(job)[-1] == "job.cancelling"


@pytest.mark.parametrize("claimed", [True, False])
def test_again_changes_nothing(world: World, claimed: bool) -> None:
    job = world.run() if claimed else world.post()
    once = world.jobs.cancel(LOCAL, job.id)
    assert world.jobs.cancel(LOCAL, job.id) == once


def test_a_finished_job_stays_finished(world: World) -> None:
    job = world.run()
    failed = world.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="x", retry=False)
    with pytest.raises(InvalidTransition):
        world.jobs.cancel(LOCAL, job.id)
    assert world.get(job) == failed


def test_against_a_claim_it_ends_in_one_of_both(world: World) -> None:
    for _ in range(5):
        job = world.post()
        claim, cancelled = run_at_once(
            [lambda: world.attempts.claim("w", None, EVERYTHING), lambda job=job: world.jobs.cancel(LOCAL, job.id)]  # type: ignore[misc]
        )
        if claim is None:
            assert cancelled.state is State.CANCELLED
        else:
            assert cancelled.state is State.CANCELLING
            world.attempts.stopped(job.id, claim.job.fence, "cancelled")
        assert world.get(job).state is State.CANCELLED
