"""A database in which a few jobs live beside very many that are done, and the verbs that are asked of it all day."""

from collections.abc import Callable
from typing import Any

from service.adapters.db.tables import metadata
from service.domain.artifacts import Kind
from service.domain.ids import TenantId
from service.domain.jobs import Job, State
from service.domain.pages import Position
from service.domain.principals import Principal
from tests.service.world import EVERYTHING, World

TENANTS = 10
ASKER = Principal(TenantId("t1"))
OTHER = Principal(TenantId("t2"))
"""Two of the ten to whom the jobs belong, a tenth to each."""
COPIED = ("jobs", "job_needs", "attempts", "events", "artifacts")

MADE_ANEW = {
    "id": "'job_' || lpad(CAST(i AS text), 26, '0')",
    "job_id": "'job_' || lpad(CAST(i AS text), 26, '0')",
    "key": "'jobs/' || i || '/' || fence || '/' || name",
    "tenant_id": f"'t' || i % {TENANTS}",
    "created_at": "{table}.created_at - i * interval '1 second'",
    "updated_at": "{table}.updated_at - i * interval '1 second'",
    "started_at": "{table}.started_at - i * interval '1 second'",
    "ended_at": "{table}.ended_at - i * interval '1 second'",
    "untrimmed_since": "CASE WHEN i % 2 = 0 THEN jobs.untrimmed_since - i * interval '1 second' END",
}
"""What the i-th copy of a row has of its own."""


class Crowd(World):
    """PostgreSQL only."""

    def fill(self, finished: int) -> None:
        """Live: one running job, and a queued one of each of two tenants. Done: `finished` copies of one that succeeded."""
        for table in COPIED:
            self.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")  # it is done here, when it is time
        done = self.trained()
        for table in COPIED:
            self._copy(table, done, finished)
        self.running = self.started()
        for owner in (ASKER, OTHER):
            self.post(owner)
        self.tidy("VACUUM ANALYZE")
        self.middle = self._deep_cursor(finished)

    def tidy(self, how: str = "VACUUM") -> None:
        """Take away what earlier rounds left dead: no scan passes over it."""
        with self.database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(f"{how} {', '.join(COPIED)}")

    def trained(self) -> str:
        job = self.started()
        self.attempts.record(job.id, job.fence, 1, "job.step", {})
        self.attempts.keep(job.id, job.fence, 1, Kind.ADAPTER, "adapter", self.file())
        return self.attempts.succeed(job.id, job.fence, training_nfe=1, training_fe=1, code_version="bench").id

    def started(self) -> Job:
        self.post(ASKER, priority=10)
        return self.claim().job

    def lose_one(self) -> None:
        """A running job whose lease is over, for the reaper to find."""
        self.end_lease(self.started())

    def _copy(self, table: str, of: str, count: int) -> None:
        names = [column.name for column in metadata.tables[table].columns]
        values = [MADE_ANEW.get(name, f"{table}.{name}").format(table=table) for name in names]
        self.sql(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
            f"FROM {table}, generate_series(1, {count}) AS i WHERE {'id' if table == 'jobs' else 'job_id'} = :of",
            of=of,
        )

    def _deep_cursor(self, finished: int) -> str:
        """Half-way down the asker's list."""
        (row,) = self.sql(
            "SELECT created_at, id FROM jobs WHERE tenant_id = :tenant ORDER BY created_at DESC, id DESC "
            "OFFSET :half LIMIT 1",
            tenant=ASKER.tenant,
            half=finished // (2 * TENANTS),
        )
        return Position(row.created_at, row.id).cursor()


Ask = Callable[[Crowd], Any]
NOTHING: Ask = lambda crowd: None  # noqa: E731 - what needs no preparation

VERBS: dict[str, tuple[Ask, Ask]] = {
    "claim": (lambda crowd: crowd.post(ASKER, priority=5), lambda crowd: crowd.attempts.claim("w", None, EVERYTHING)),
    "poll": (NOTHING, lambda crowd: crowd.jobs.version(ASKER, crowd.running.id)),
    "read": (NOTHING, lambda crowd: crowd.jobs.get(ASKER, crowd.running.id)),
    "list, first page": (NOTHING, lambda crowd: crowd.jobs.list(ASKER, limit=20)),
    "list, page half-way down": (NOTHING, lambda crowd: crowd.jobs.list(ASKER, limit=20, cursor=crowd.middle)),
    "list, page of a state": (NOTHING, lambda crowd: crowd.jobs.list(ASKER, state=State.SUCCEEDED, limit=20)),
    "reap": (lambda crowd: crowd.lose_one(), lambda crowd: crowd.attempts.reap()),
    "submit": (NOTHING, lambda crowd: crowd.post(ASKER, priority=-10)),
}
"""name → (what has to be so before, what is asked). The claim comes before the submits, which leave jobs in the queue."""
