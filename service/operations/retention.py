"""What is kept how long. The steward removes checkpoints of jobs that ended long ago, what those jobs said of each step, and
stored objects that no row names. Nothing that a row names is ever deleted: rows go first, in one transaction, then the objects.
What a crash leaves between the two is an orphan, which a later round removes. Nothing of a job that has no row is one: jobs'
rows are never deleted. Whether the store is this database's at all is asked before (steward.py, belonging.py).

Each call does a portion, so that no chore keeps the others waiting for long; it returns how many things are gone.
"""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from time import monotonic

from service.domain.ids import Fence, JobId
from service.domain.outside import Clock, Store
from service.domain.ports import Database, ReadUnit
from service.operations import stowing
from service.operations.belonging import PREFIXES

DAY = 24 * 3600.0
PORTION_JOBS = 20
PORTION_KEYS = 1000
TURN_SECONDS = 5.0

log = logging.getLogger(__name__)
_OF_JOB = re.compile(r"jobs/(job_[0-9a-z]{26})/([1-9][0-9]{0,8})/[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_OF_NOBODY = re.compile(r"files/file_[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class Keep:
    """How long, in seconds. `uploads` is the age at which an object without a row is an orphan: a day at least."""

    checkpoints: float = 7 * DAY
    events: float = 90 * DAY
    uploads: float = 2 * DAY
    drawn: float = 3600.0

    def __post_init__(self) -> None:
        if self.uploads < DAY:
            raise ValueError("an upload may be on its way to its row for a day")


def for_a_while(portion: Callable[[], int], seconds: float = TURN_SECONDS) -> int:
    """Portion after portion until there is nothing left, or the time is over."""
    until, total = monotonic() + seconds, 0
    while done := portion():
        total += done
        if monotonic() >= until:
            break
    return total


def expire_checkpoints(database: Database, store: Store, keep: Keep) -> int:
    """Of some jobs that ended long ago. A certificate that is yet to run keeps its parent's."""
    with database.write() as unit:
        gone = unit.upkeep.expire_checkpoints(keep.checkpoints, PORTION_JOBS)
    stowing.discard(store, gone)
    return len(gone)


def trim_events(database: Database, keep: Keep) -> int:
    """Of some jobs that ended long ago; returns of how many. Changes of state stay, with their numbers."""
    with database.write() as unit:
        return unit.upkeep.trim_events(keep.events, PORTION_JOBS)


class Sweep:
    """Goes through the store, a portion at a time, from its beginning again when it has come to the end."""

    def __init__(self, database: Database, store: Store, keep: Keep, clock: Clock) -> None:
        self._database, self._store, self._keep, self._clock = database, store, keep, clock
        self._ahead: Iterator[str] | None = None
        self._strange = self._told = 0

    def turn(self, seconds: float = TURN_SECONDS) -> int:
        """Remove orphans for a while; at the end of the store also what half-done writes left there."""
        until, gone = monotonic() + seconds, 0
        if self._ahead is None:
            self._ahead, self._strange = self._old_keys(), 0
        while monotonic() < until:
            try:
                portion = list(islice(self._ahead, PORTION_KEYS))
            except Exception:
                self._ahead = None
                raise
            if not portion:
                self._ahead = None
                self._tell()
                return gone + self._store.forget_half_done(self._clock() - timedelta(seconds=self._keep.uploads))
            gone += self._remove(portion)
        return gone

    def _old_keys(self) -> Iterator[str]:
        before = self._clock() - timedelta(seconds=self._keep.uploads)
        for prefix in PREFIXES:
            for key, written_at in self._store.ages(prefix):
                if written_at < before:
                    yield key

    def _remove(self, keys: Sequence[str]) -> int:
        with self._database.read() as unit:
            found = sort_out(unit, keys)
        for key in found.lost:
            self._store.delete(key)
            log.info("%s: no row names it", key)
        self._strange += len(found.strange)
        return len(found.lost)

    def _tell(self) -> None:
        """Once for each number, not at each round."""
        if self._strange and self._strange != self._told:
            log.warning(
                "%d objects under jobs/ are of jobs that this database does not know, and are kept: another database names "
                "them, or one that was lost. When you are sure that nobody wants them, delete those jobs' folders by hand",
                self._strange,
            )
        self._told = self._strange


@dataclass(frozen=True, slots=True)
class Sorted:
    """Old keys that may go: `lost`. `strange` ones stay: of a job that the database does not know."""

    lost: list[str]
    strange: list[str]


def sort_out(unit: ReadUnit, keys: Sequence[str]) -> Sorted:
    """Those among old keys that no row names and, by the database, never will.

    A row is written by the attempt of the key's own fence, while it owns its job: once that is over, it cannot come. A fence
    that the job has not reached yet is another matter (a database brought back from a copy): its objects stay. So do keys
    that are not ours.
    """
    named = unit.upkeep.named(keys)
    of_job = {key: (JobId(found[1]), Fence(int(found[2]))) for key in keys if (found := _OF_JOB.fullmatch(key))}
    fences = unit.upkeep.fences({job for job, _ in of_job.values()})

    def is_lost(key: str) -> bool:
        if key in named:
            return False
        if key not in of_job:
            return _OF_NOBODY.fullmatch(key) is not None
        job, fence = of_job[key]
        if job not in fences:
            return False
        reached, owned = fences[job]
        return fence < reached or (fence == reached and not owned)

    strange = [key for key, (job, _) in of_job.items() if job not in fences]
    return Sorted([key for key in keys if is_lost(key)], strange)
