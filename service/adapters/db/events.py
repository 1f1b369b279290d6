"""Events: numbered per job under the job's row lock, so that a reader's cursor never skips one."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Update, bindparam, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from service.adapters.db.jobs import owned_by
from service.adapters.db.tables import events, jobs
from service.adapters.db.types import Now
from service.domain.errors import FenceLost
from service.domain.ids import Fence, JobId, TenantId
from service.domain.jobs import Event, Progress
from service.domain.ports import Deed

_MOST = 2**31 - 1
"""The highest number that the column holds: PostgreSQL refuses to compare it with more."""


class EventRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def after(self, tenant: TenantId, job: JobId, number: int, limit: int) -> list[Event]:
        if number >= _MOST:
            return []
        statement = select(events).where(events.c.job_id == job, events.c.tenant_id == tenant, events.c.number > number)
        rows = self._connection.execute(statement.order_by(events.c.number).limit(limit))
        return [Event(row.number, Fence(row.fence), row.step, row.type, row.data, row.created_at) for row in rows]

    def trained(self, tenant: TenantId, job: JobId) -> set[Fence]:
        told = events.c.type.in_(("job.checkpoint", "job.step"))
        statement = select(events.c.fence).where(events.c.job_id == job, events.c.tenant_id == tenant, told).distinct()
        return {Fence(fence) for fence in self._connection.scalars(statement)}


class EventWrites(EventRows):
    def append(self, job: JobId, fence: Fence, deed: Deed) -> Event:
        return self._write(_COUNTED, job, fence, deed)

    def report(self, job: JobId, fence: Fence, deed: Deed, progress: Progress | None) -> Event:
        counted = _counted(update(jobs).where(owned_by(job, fence)))
        if progress is not None:
            counted = counted.values(
                step=progress.step, reward=progress.reward, training_nfe=progress.training_nfe,
                training_fe=progress.training_fe, seconds_left=progress.seconds_left,
                training_seconds=progress.training_seconds,
            )  # fmt: skip
        return self._write(counted.returning(*_NUMBERED), job, fence, deed)

    def _write(self, counted: ReturningUpdate[Any], job: JobId, fence: Fence, deed: Deed) -> Event:
        numbered = self._connection.execute(counted, {"job": job}).one_or_none()
        if numbered is None:
            raise FenceLost
        number, tenant = numbered
        values: dict[str, Any] = {"number": number, "fence": fence, **asdict(deed)}
        created_at = self._connection.execute(WRITTEN, {"job_id": job, "tenant_id": tenant, **values}).scalar_one()
        return Event(**values, created_at=created_at)


def _counted(statement: Update) -> Update:
    return statement.values(event_count=jobs.c.event_count + 1, version=jobs.c.version + 1, updated_at=Now())


_NUMBERED = jobs.c.event_count, jobs.c.tenant_id
_COUNTED = _counted(update(jobs).where(jobs.c.id == bindparam("job"))).returning(*_NUMBERED)
WRITTEN = insert(events).values(created_at=Now()).returning(events.c.created_at)
"""Built once: in a claim that takes as long as running them."""
