"""Queued jobs that no worker can take say so, and why; those that are taken or could be do not. The steward's chore.

It looks at what workers said when they last looked for work, never at a worker: a claim goes by what it offers at that moment.
"""

from time import monotonic

from service.domain.ids import JobId
from service.domain.ports import Database
from service.domain.waiting import ABSENT_SECONDS, foremost, wait_reason

DUE_SECONDS = 60.0
"""A job that could have been taken for less says nothing: workers may be starting."""
FORGET_SECONDS = 24 * 3600.0
PORTION, TURN_SECONDS = 500, 5.0


class Explaining:
    """One a steward: what its time did not suffice for is where the next turn begins."""

    def __init__(self, database: Database, due_seconds: float = DUE_SECONDS) -> None:
        self._database, self._due_seconds = database, due_seconds
        self._after: JobId | None = None

    def turn(self) -> int:
        """Returns how many jobs say something else now."""
        with self._database.write() as unit:
            unit.workers.forget(FORGET_SECONDS)
        until, total = monotonic() + TURN_SECONDS, 0
        while True:
            total += self._portion()
            if self._after is None or monotonic() >= until:
                return total

    def _portion(self) -> int:
        with self._database.read() as unit:
            workers = foremost(unit.workers.offered(ABSENT_SECONDS))  # a fleet of many machines is of a few kinds
            jobs = unit.jobs.waiting(workers, self._due_seconds, self._after, PORTION)
        self._after = jobs[-1].id if len(jobs) == PORTION else None
        told = {job.id: (job.reason, wait_reason(job.needs, workers)) for job in jobs}
        changed = {job: now for job, (before, now) in told.items() if before != now}
        if not changed:
            return 0
        with self._database.write() as unit:
            return sum(unit.jobs.explain(job, reason) for job, reason in sorted(changed.items()))
