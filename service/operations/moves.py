"""How a held job changes its state: the table is asked, the row is written, an event says so. All in the caller's unit."""

from dataclasses import dataclass
from typing import Any

from service.domain.jobs import JobError, State, after_lost_attempt, check_transition
from service.domain.ports import Deed, Held, WriteUnit


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator sets about attempts."""

    lease_seconds: float = 30.0
    attempt_limit: int = 3
    backoff_seconds: float = 5.0

    def wait(self, failures: int) -> float:
        """Seconds before the next attempt: twice as long after each failure, an hour at most."""
        return min(self.backoff_seconds * 2.0 ** (failures - 1), 3600.0)


def move(
    unit: WriteUnit,
    job: Held,
    to: State,
    *,
    data: dict[str, Any] | None = None,
    error: JobError | None = None,
    failures: int | None = None,
    wait_seconds: float = 0.0,
) -> None:
    """Raises InvalidTransition when the table does not have it."""
    check_transition(job.state, to)
    failures = job.failures if failures is None else failures
    unit.jobs.move(job, to, error=error, failures=failures, wait_seconds=wait_seconds)
    word = "requeued" if to is State.QUEUED else to.value
    unit.events.append(job.id, job.fence, Deed(f"job.{word}", data or {}))


def lose(unit: WriteUnit, job: Held, error: JobError, cause: str, limits: Limits, *, retry: bool = True) -> None:
    """End a counted attempt that did not bring its job to an end: queued again after a wait, or failed; or what was asked.

    A job that somebody cancelled or paused goes where they sent it, whatever became of the attempt.
    """
    failures = job.failures + 1
    to = after_lost_attempt(job.state, attempts_left=retry and failures < limits.attempt_limit)
    unit.jobs.end_attempt(job, cause)
    move(
        unit,
        job,
        to,
        data={"cause": cause, "code": error.code, "message": error.message},
        error=error if to is State.FAILED else None,
        failures=failures,
        wait_seconds=limits.wait(failures),
    )


def reap(unit: WriteUnit, limits: Limits, *, at_most: int = 100) -> int:
    """End the attempts whose lease is over. Every claim does this first, and the steward does it too."""
    lost = unit.jobs.expired(at_most)
    for job in lost:
        message = (
            f"the worker of attempt {job.fence} stopped renewing its lease (killed, cut off or out of memory); "
            "see its log, then retry the job"
        )
        lose(unit, job, JobError("lease_lost", message), "lease_lost", limits)
    return len(lost)
