"""How a held job changes its state: the table is asked, the row is written, an event says so. All in the caller's unit."""

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from service.domain.artifacts import Kind
from service.domain.jobs import JobError, State, after_lost_attempt, check_transition
from service.domain.ports import Deed, Held, WriteUnit

PUT_OFF = frozenset({"unavailable", "no_scratch", "device_unavailable", "model_unavailable"})
"""Causes for which no job is to blame: the store or the database was away, the worker had no place to work in or could not fetch a model."""
MOST_PUT_OFF = 20
"""Put-offs in a row that are not counted: at the defaults half a day of waits, beside what the attempts themselves take. After that they
are counted, so that a job whose files the store will not give does not come back for ever."""


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

    One that brought the job further is the first of a new count: what is counted are attempts in vain, and steps are bounded.
    A job that somebody cancelled or paused goes where they sent it, whatever became of the attempt.
    """
    failures = 1 if _got_further(unit, job) else job.failures + 1
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


def put_off(unit: WriteUnit, job: Held, error: JobError, limits: Limits) -> None:
    """End an attempt for a reason of PUT_OFF, which is `error.code`: not counted, and queued again after a wait that doubles with
    each such end in a row; after MOST_PUT_OFF of them counted as any other."""
    in_a_row = _put_off_in_a_row(unit, job)
    if in_a_row >= MOST_PUT_OFF:
        lose(unit, job, error, error.code, limits)
        return
    unit.jobs.end_attempt(job, error.code)
    to = after_lost_attempt(job.state, attempts_left=True)
    data = {"cause": error.code, "code": error.code, "message": error.message}
    move(unit, job, to, data=data, wait_seconds=limits.wait(in_a_row + 1))


def _got_further(unit: WriteUnit, job: Held) -> bool:
    """Whether the attempt has stored a checkpoint beyond all that were there before it."""
    kept = unit.artifacts.of(job.tenant, job.id, Kind.CHECKPOINT)
    own = max((each.step for each in kept if each.fence == job.fence), default=0)
    return own > max((each.step for each in kept if each.fence < job.fence), default=0)


def _put_off_in_a_row(unit: WriteUnit, job: Held) -> int:
    """Of the attempts before the one that holds the job, the last ones."""
    known = unit.jobs.get(job.tenant, job.id)
    before = [attempt.cause for attempt in known.attempts if attempt.fence < job.fence] if known else []
    return len(list(takewhile(lambda cause: cause in PUT_OFF, reversed(before))))


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
