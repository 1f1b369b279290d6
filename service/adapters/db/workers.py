"""Which workers there are: what each offered when it last looked for work."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from service.adapters.db.tables import attempts, jobs, workers
from service.adapters.db.types import Later, Now
from service.domain.offers import Offered
from service.domain.principals import LOCAL_TENANT


class WorkerRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def offered(self, absent_seconds: float) -> frozenset[Offered]:
        rows = self._connection.execute(select(workers).where(or_(workers.c.seen_at > Later(-absent_seconds), _BUSY)))
        return frozenset(Offered(frozenset(row.words), row.any_model, row.memory_gib) for row in rows)


class WorkerWrites(WorkerRows):
    def see(self, worker: str, offers: Offered) -> None:
        make = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        now: dict[str, Any] = {
            "words": sorted(offers.words),
            "any_model": offers.any_model,
            "memory_gib": offers.memory_gib,
            "seen_at": Now(),
        }
        first = make(workers).values(tenant_id=LOCAL_TENANT, name=worker, **now)
        self._connection.execute(
            first.on_conflict_do_update(index_elements=[workers.c.tenant_id, workers.c.name], set_=now)
        )

    def forget(self, absent_seconds: float) -> int:
        gone = delete(workers).where(workers.c.seen_at <= Later(-absent_seconds), ~_BUSY)
        return self._connection.execute(gone).rowcount


def _busy() -> ColumnElement[bool]:
    """It has a job: the few that are owned are found by their own index, and the attempt by its key."""
    at_work = (
        select(attempts.c.worker)
        .select_from(jobs.join(attempts, (attempts.c.job_id == jobs.c.id) & (attempts.c.fence == jobs.c.fence)))
        .where(jobs.c.lease_until.is_not(None))
    )
    return workers.c.name.in_(at_work)


_BUSY = _busy()
