"""What the steward asks: what is old enough to go, and which stored objects no row names. Small portions, by indexes only."""

import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, exists, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.adapters.db.artifacts import read_artifact
from service.adapters.db.tables import SHOWN, artifacts, events, files, installation, jobs
from service.adapters.db.types import Later, Moment, Now
from service.domain.artifacts import Artifact, Kind
from service.domain.ids import Fence, JobId
from service.domain.installation import Installation
from service.domain.jobs import OWNED, PER_STEP, TERMINAL
from service.domain.jobs import Kind as JobKind
from service.domain.principals import LOCAL_TENANT

_OURS = installation.c.tenant_id == LOCAL_TENANT


class UpkeepRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def installation(self) -> Installation | None:
        row = self._connection.execute(select(installation).where(_OURS)).one_or_none()
        return Installation(row.id, row.seen_at) if row else None

    def named(self, keys: Collection[str]) -> set[str]:
        found: set[str] = set()
        for table in (artifacts, files):
            found |= set(self._connection.scalars(select(table.c.key).where(table.c.key.in_(keys))))
        return found

    def fences(self, of: Collection[JobId]) -> dict[JobId, tuple[Fence, bool]]:
        rows = self._connection.execute(select(jobs.c.id, jobs.c.fence, jobs.c.state).where(jobs.c.id.in_(of)))
        return {JobId(row.id): (Fence(row.fence), row.state in OWNED) for row in rows}

    def replayed(self, job: JobId) -> set[int]:
        waiting = jobs.c.kind == JobKind.CERTIFICATE, jobs.c.state.not_in(sorted(TERMINAL))
        recipes = self._connection.scalars(select(SHOWN).where(jobs.c.parent_id == job, *waiting))
        replays = [recipe["replay"] for recipe in recipes]
        return {replay[step] for replay in replays for step in ("checkpoint_step", "to_step")}


class UpkeepWrites(UpkeepRows):
    def see(self, *, anew: bool) -> Installation:
        make = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        first = make(installation).values(tenant_id=LOCAL_TENANT, id=secrets.token_hex(8), seen_at=Now())
        self._connection.execute(first.on_conflict_do_nothing(index_elements=[installation.c.tenant_id]))
        before = self._connection.scalar(select(installation.c.seen_at).where(_OURS).with_for_update())
        assert before is not None, "its row was written above"
        later = literal(before + timedelta(milliseconds=1), Moment())  # also where the clock was put back
        changed = {"seen_at": case((Now() > later, Now()), else_=later)} | (
            {"id": secrets.token_hex(8)} if anew else {}
        )
        row = self._connection.execute(update(installation).where(_OURS).values(changed).returning(installation)).one()
        return Installation(row.id, row.seen_at)

    def expire_checkpoints(self, keep_seconds: float, jobs_at_most: int) -> list[Artifact]:
        """The locks keep out a retry and, by their foreign key, new certificates until the commit.

        A certificate that committed after the first statement had begun and before it came to the parent's row is not in its
        snapshot, nor has it changed that row; the second statement, under the locks, sees it.
        """
        old = artifacts.c.kind == Kind.CHECKPOINT, artifacts.c.created_at <= Later(-keep_seconds)
        over = (
            select(jobs.c.id)
            .where(jobs.c.id.in_(select(artifacts.c.job_id).where(*old)), jobs.c.state.in_(sorted(TERMINAL)))
            .where(jobs.c.updated_at <= Later(-keep_seconds), ~_certified(jobs.c.id))
            .order_by(jobs.c.id).limit(jobs_at_most).with_for_update(skip_locked=True, of=jobs)
        )  # fmt: skip
        ended = self._connection.scalars(over).all()
        theirs = artifacts.c.job_id.in_(ended), artifacts.c.kind == Kind.CHECKPOINT, ~_certified(artifacts.c.job_id)
        gone = self._connection.execute(delete(artifacts).where(*theirs).returning(artifacts))
        return [read_artifact(row) for row in gone]

    def trim_events(self, keep_seconds: float, jobs_at_most: int) -> int:
        over = (
            select(jobs.c.id)
            .where(jobs.c.untrimmed_since <= Later(-keep_seconds))
            .order_by(jobs.c.untrimmed_since).limit(jobs_at_most).with_for_update(skip_locked=True)
        )  # fmt: skip
        ended = self._connection.scalars(over).all()
        said = events.c.job_id.in_(ended), events.c.type.in_(sorted(PER_STEP))
        self._connection.execute(delete(events).where(*said))
        self._connection.execute(update(jobs).where(jobs.c.id.in_(ended)).values(untrimmed_since=None))
        return len(ended)


def _certified(job: ColumnElement[Any]) -> ColumnElement[bool]:
    """The job has a certificate that is yet to replay its checkpoints."""
    certificate = jobs.alias("certificate")
    return exists().where(
        certificate.c.parent_id == job,
        certificate.c.kind == JobKind.CERTIFICATE,
        certificate.c.state.not_in(sorted(TERMINAL)),
    )
