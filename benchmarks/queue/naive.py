"""The schema that one writes first: a table of jobs with an index on its state, pages by OFFSET, and a count above each."""

from collections.abc import Callable
from typing import Any

from benchmarks.queue.crowd import ASKER, TENANTS, Crowd

TABLE = "naive_jobs"
CLAIM = (
    f"SELECT id FROM {TABLE} WHERE state = 'queued' ORDER BY priority DESC, created_at, id LIMIT 1 "
    "FOR UPDATE SKIP LOCKED"
)


def make(crowd: Crowd) -> None:
    """With the same jobs."""
    columns = "id, tenant_id, state, priority, recipe, created_at, updated_at, lease_until"
    crowd.sql(f"CREATE TABLE {TABLE} AS SELECT {columns} FROM jobs")
    crowd.sql(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (id), ALTER state SET NOT NULL")
    crowd.sql(f"CREATE INDEX ix_naive_state ON {TABLE} (state)")
    crowd.sql(f"ANALYZE {TABLE}")


def claim(crowd: Crowd) -> None:
    ((job,),) = crowd.sql(CLAIM)
    crowd.sql(f"UPDATE {TABLE} SET state = 'running', lease_until = now() + interval '30 s' WHERE id = :id", id=job)


def submit(crowd: Crowd) -> None:
    crowd.sql(
        f"INSERT INTO {TABLE} SELECT 'job_' || left(md5(random()::text), 26), tenant_id, 'queued', 5, recipe, now(), now(), NULL "
        f"FROM {TABLE} WHERE id = :id",
        id=crowd.running.id,
    )


def page(crowd: Crowd, offset: int, state: str = "") -> None:
    where = f"tenant_id = '{ASKER.tenant}'" + (f" AND state = '{state}'" if state else "")
    crowd.sql(f"SELECT * FROM {TABLE} WHERE {where} ORDER BY created_at DESC, id DESC LIMIT 20 OFFSET {offset}")
    crowd.sql(f"SELECT count(*) FROM {TABLE} WHERE {where}")


def verbs(finished: int) -> dict[str, Callable[[Crowd], Any]]:
    half = finished // (2 * TENANTS)
    return {
        "submit": submit,
        "claim": claim,
        "poll": lambda crowd: crowd.sql(f"SELECT state FROM {TABLE} WHERE id = :id", id=crowd.running.id),
        "list, first page": lambda crowd: page(crowd, 0),
        "list, page half-way down": lambda crowd: page(crowd, half),
        "list, page of a state": lambda crowd: page(crowd, 0, "succeeded"),
        "reap": lambda crowd: crowd.sql(
            f"SELECT id FROM {TABLE} WHERE state = 'running' AND lease_until < now() FOR UPDATE SKIP LOCKED"
        ),
    }
