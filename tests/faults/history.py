"""What the database says happened: all rows of the tables that the invariants speak of, read once, in order."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Table, select

from service.adapters.db import SqlDatabase, tables


@dataclass(frozen=True)
class History:
    """Rows as the tables have them. `events` and `attempts` by job, in the order of their numbers."""

    jobs: Mapping[str, Row[Any]]
    events: Mapping[str, Sequence[Row[Any]]]
    attempts: Mapping[str, Sequence[Row[Any]]]
    artifacts: Sequence[Row[Any]]
    versions: Sequence[Row[Any]]

    def of_type(self, job: str, *types: str) -> list[Row[Any]]:
        return [event for event in self.events.get(job, ()) if event.type in types]


def read(database: SqlDatabase) -> History:
    """One snapshot."""
    snapshot = {"isolation_level": "REPEATABLE READ"} if database.engine.dialect.name == "postgresql" else {}
    with database.engine.execution_options(**snapshot).begin() as connection:

        def rows(table: Table, *order: str) -> Sequence[Row[Any]]:
            return connection.execute(select(table).order_by(*(table.c[name] for name in order))).all()

        return History(
            jobs={row.id: row for row in rows(tables.jobs, "created_at", "id")},
            events=_by_job(rows(tables.events, "job_id", "number")),
            attempts=_by_job(rows(tables.attempts, "job_id", "fence")),
            artifacts=rows(tables.artifacts, "job_id", "fence", "name"),
            versions=rows(tables.adapter_versions, "created_at"),
        )


def _by_job(rows: Sequence[Row[Any]]) -> Mapping[str, Sequence[Row[Any]]]:
    found: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[row.job_id].append(row)
    return found
