"""Beside many finished jobs the hot statements still go by indexes: nothing that is asked often reads a whole table."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from service.domain.adapters import AliasRequest
from service.domain.artifacts import Kind
from service.domain.jobs import State
from service.domain.principals import LOCAL
from service.operations.waiting import Explaining
from tests.service.world import EVERYTHING, World

FINISHED = 5_000
LARGE = ("jobs", "events", "attempts", "artifacts", "job_needs")

HOT: dict[str, Callable[[World], Any]] = {
    "claim, reaping first": lambda world: world.attempts.claim("w", None, EVERYTHING),
    "poll": lambda world: world.jobs.version(LOCAL, world.queued.id),
    "read": lambda world: world.jobs.get(LOCAL, world.queued.id),
    "first page": lambda world: world.jobs.list(LOCAL, limit=20),
    "page of a state": lambda world: world.jobs.list(LOCAL, state=State.FAILED, limit=20),
    "deep page": lambda world: world.jobs.list(LOCAL, limit=20, cursor=world.middle),
    "events": lambda world: world.jobs.events(LOCAL, world.running.id, after=1),
    "heartbeat": lambda world: world.attempts.heartbeat(world.running.id, world.running.fence),
    "record": lambda world: world.attempts.record(world.running.id, world.running.fence, 1, "job.step", {}),
    "show": lambda world: world.attempts.show("w", EVERYTHING),
    "what nobody takes": lambda world: Explaining(world.database, due_seconds=0).turn(),
    "submit": lambda world: world.post(),
    "what an alias means": lambda world: world.models.resolve(LOCAL, "red@stable"),
    "held adapters that still have a version": lambda world: world.models.living({"0" * 64, "1" * 64}),
    "deleting an adapter": lambda world: world.adapters.delete(LOCAL, "red@1", force=True),
}


class Crowded(World):
    """A queued job, a running one, and many that are done, with their attempts and events."""

    def fill(self) -> None:
        self.deliver()
        self.adapters.put_alias(LOCAL, "red", "stable", AliasRequest(version=1))
        self.running = self.run()
        self.attempts.keep(self.running.id, self.running.fence, 1, Kind.LOG, "log.txt", self.file())
        self.queued = self.post()
        number = "lpad(CAST(i AS text), 26, '0')" if self.on_postgresql else "printf('%026d', i)"
        new = {"id": f"'job_' || {number}", "job_id": f"'job_' || {number}", "key": number}
        self._copies("jobs", self.queued.id, new | {"state": "'failed'", "not_before": "NULL"})
        for table in ("attempts", "events", "job_needs", "artifacts"):
            self._copies(table, self.running.id, new)
        self.sql("ANALYZE")
        self.middle = self.jobs.list(LOCAL, limit=100).next_cursor

    def _copies(self, table: str, of: str, new: dict[str, str]) -> None:
        names = [row[0] for row in self.sql(self._columns(), table=table)]
        values = [new.get(name, name) for name in names]
        key = "id" if table == "jobs" else "job_id"
        self.sql(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FINISHED}) "
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM {table}, n WHERE {key} = :of",
            of=of,
        )

    def _columns(self) -> str:
        if self.on_postgresql:
            return "SELECT column_name FROM information_schema.columns WHERE table_name = :table"
        return "SELECT name FROM pragma_table_info(:table)"

    def plans(self, ask: Callable[[], Any]) -> list[str]:
        """The plan of each statement that `ask` executes."""
        said: list[tuple[str, Any]] = []

        def note(*given: Any) -> None:
            _, _, statement, values, _, many = given
            if statement.startswith(("SELECT", "UPDATE", "INSERT", "DELETE", "WITH")):
                said.append((statement, values[0] if many else values))

        event.listen(self.database.engine, "before_cursor_execute", note)
        ask()
        event.remove(self.database.engine, "before_cursor_execute", note)
        word = "EXPLAIN" if self.on_postgresql else "EXPLAIN QUERY PLAN"
        with self.database.engine.connect() as connection:
            rows = [connection.exec_driver_sql(f"{word} {statement}", values).all() for statement, values in said]
        return ["\n".join(str(row[-1]) for row in plan) for plan in rows]


@pytest.fixture(scope="module")
def scan() -> re.Pattern[str]:
    """A table read from end to end: `Seq Scan on jobs` there, `SCAN jobs` without an index here."""
    return re.compile(rf"Seq Scan on ({'|'.join(LARGE)})\b|^SCAN ({'|'.join(LARGE)})$", re.MULTILINE)


@pytest.fixture
def crowded(world: World) -> Crowded:
    full = Crowded(world.database, world.store, world.catalogue, world.folder)
    full.fill()
    return full


def test_no_hot_statement_reads_a_whole_table(crowded: Crowded, scan: re.Pattern[str]) -> None:
    for name, ask in HOT.items():
        plans = crowded.plans(lambda ask=ask: ask(crowded))  # type: ignore[misc]
        assert plans, name
        assert [plan for plan in plans if scan.search(plan)] == [], name


def test_the_check_finds_a_whole_read(crowded: Crowded, scan: re.Pattern[str]) -> None:
    plans = crowded.plans(lambda: crowded.sql("SELECT count(*) FROM jobs WHERE priority = 7 AND step = 3"))
    assert scan.search(plans[0])
