"""Whose store is this? The steward removes what no row names, and what is old by its rows: by another database's rows, or those
of a copy, that may be all that matters there. So both sides carry a mark, the installation's id and when a steward last saw
the two together, and from a store whose mark does not fit nothing is removed.

The row is written before the object, the object is read before the row, and the row only ever grows, whatever the database's
clock does: one database, with one steward or several, never finds the store's mark the younger one. Where it is younger
all the same, and this database has not been brought back from a copy since the last look, a copy of it is at work on the store.
It takes one turn of each to notice: of two that both grow, one is behind the other's. Which of the two is the right one
nobody here can know, so whoever notices marks the store as disputed, and both are refused until somebody has decided.
"""

import json
import logging
import re
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from service.domain.errors import Conflict, Damaged
from service.domain.ids import JobId
from service.domain.installation import Installation
from service.domain.outside import Store
from service.domain.ports import Database

MARK = "installation.json"
PREFIXES = ("jobs/", "files/")
AGREE_SECONDS = 3600.0
"""A database may be so much older than its store when a steward first sees it, as copies of the two made one after the other
are. What a sweep removes is a day old at least, and had its row by then."""
DISPUTED = "disputed"
"""Stands for the id in the mark of a store that two databases used. No database has it."""
LOOKED_AT = 1000

log = logging.getLogger(__name__)
_OF_A_JOB = re.compile(r"jobs/(job_[0-9a-z]{26})/.*")
_REMEDY = (
    "nothing is removed from it. Set STROP_DATABASE_URL and STROP_STORE_URL to two that belong together, or bring the "
    "newest copy of the database back; only where that is lost for good, run `python -m service.manage adopt`: after it, "
    "uploads that this database does not name are removed"
)
_DISPUTE = (
    "two databases with one id are or were at work on this store, one of them a copy of the other: nothing is removed from it. "
    "Give the copy a store of its own (STROP_STORE_URL), then run `python -m service.manage adopt` with the settings of the "
    "database whose store it is: after it, uploads that this one does not name are removed"
)


class ForeignStore(Conflict):
    """The store belongs to another database."""

    code = "foreign_store"


class Belonging:
    """One for a process: it remembers what it has seen."""

    def __init__(self, database: Database, store: Store) -> None:
        self._database, self._store = database, store
        self._seen: datetime | None = None

    def check(self) -> None:
        """Renew the mark on both sides. Raises ForeignStore where the store's does not fit this database.

        A store without a mark is taken where it is empty, or holds something of a job or file that this database knows.
        """
        theirs = self._read()
        with self._database.read() as unit:
            ours = unit.upkeep.installation()
        if theirs is None:
            self._check_unmarked()
        elif theirs.id == DISPUTED:
            raise ForeignStore(_DISPUTE)
        elif ours is None or theirs.id != ours.id:
            mine = f"is installation {ours.id}" if ours else "is new"
            raise ForeignStore(f"the store is of installation {theirs.id}, and this database {mine}: {_REMEDY}")
        elif theirs.seen_at > ours.seen_at:
            self._check_older(ours, theirs)
        self._seen = self._mark(anew=False).seen_at

    def adopt(self) -> Installation:
        """Make the store this database's, whatever it was: a new id, so that another one that still runs leaves it alone."""
        return self._mark(anew=True)

    def _read(self) -> Installation | None:
        try:
            content = b"".join(self._store.open(MARK))
        except Damaged:
            return None
        try:
            said = json.loads(content)
            return Installation(str(said["id"]), datetime.fromisoformat(said["seen_at"]).astimezone(UTC))
        except (ValueError, KeyError, TypeError) as error:
            raise ForeignStore(f"the store's {MARK} cannot be read: {_REMEDY}") from error

    def _check_older(self, ours: Installation, theirs: Installation) -> None:
        if self._seen is not None and ours.seen_at >= self._seen:
            self._put(Installation(DISPUTED, theirs.seen_at))
            raise ForeignStore(_DISPUTE)
        if theirs.seen_at > ours.seen_at + timedelta(seconds=AGREE_SECONDS):
            raise ForeignStore(
                f"this database is a copy from {ours.seen_at:%Y-%m-%d %H:%M}Z or a little later, and its store was in use "
                f"until {theirs.seen_at:%Y-%m-%d %H:%M}Z: {_REMEDY}"
            )

    def _check_unmarked(self) -> None:
        for prefix in PREFIXES:
            keys = list(islice(self._store.list(prefix), LOOKED_AT))
            jobs = {JobId(found[1]) for key in keys if (found := _OF_A_JOB.fullmatch(key))}
            with self._database.read() as unit:
                if unit.upkeep.named(keys) or unit.upkeep.fences(jobs):
                    return
            if keys:
                raise ForeignStore(
                    f"the store holds {keys[0]} and more, of which this database names nothing: {_REMEDY}"
                )

    def _mark(self, *, anew: bool) -> Installation:
        with self._database.write() as unit:
            ours = unit.upkeep.see(anew=anew)
        self._put(ours)
        return ours

    def _put(self, mark: Installation) -> None:
        with tempfile.TemporaryDirectory(prefix="strop-") as folder:
            path = Path(folder) / MARK
            path.write_text(json.dumps({"id": mark.id, "seen_at": mark.seen_at.isoformat()}), encoding="utf-8")
            self._store.put_file(MARK, path)
