"""How many pages a verb touches: each of its statements is run under EXPLAIN (ANALYZE, BUFFERS) just before it runs in earnest.

The explained run is taken back by a savepoint, so that what follows finds the world as it was. Pages are shared blocks, found
in memory or read, of whole plans; the checks of foreign keys, which PostgreSQL runs outside of plans, are not among them.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from sqlalchemy import Engine, event

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


@dataclass
class Cost:
    """`indexes`: those that were searched, and those of tables that were written. `descents`: how often one was gone down."""

    pages: int = 0
    milliseconds: float = 0.0
    descents: int = 0
    indexes: set[str] = field(default_factory=set)
    whole_reads: set[str] = field(default_factory=set)
    """Tables that were read from end to end."""


def typical(costs: list[Cost]) -> Cost:
    """The median of each number; whatever index or whole read any of them had."""
    return Cost(
        pages=round(median(cost.pages for cost in costs)),
        milliseconds=round(median(cost.milliseconds for cost in costs), 3),
        descents=round(median(cost.descents for cost in costs)),
        indexes=set.union(*(cost.indexes for cost in costs)),
        whole_reads=set.union(*(cost.whole_reads for cost in costs)),
    )


def measured(engine: Engine, ask: Callable[[], Any]) -> Cost:
    """What all statements of a verb cost together."""
    total = Cost()
    with _explained(engine, total):
        ask()
    return total


@contextmanager
def _explained(engine: Engine, total: Cost) -> Iterator[None]:
    def explain(*given: Any) -> None:
        _, cursor, statement, values, _, many = given
        if not statement.startswith(PLANNED):
            return
        with cursor.connection.cursor() as aside:
            for each in values if many else (values,):
                aside.execute("SAVEPOINT explained")
                aside.execute(EXPLAIN + statement, each)
                (told,) = aside.fetchone()
                aside.execute("ROLLBACK TO SAVEPOINT explained")
                _add(total, told[0] if isinstance(told, list) else json.loads(told)[0], cursor.connection)

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def _add(total: Cost, told: dict[str, Any], connection: Any) -> None:
    plan = told["Plan"]
    total.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    total.milliseconds += told["Execution Time"]
    for node in _nodes(plan):
        if "Index Name" in node:
            total.indexes.add(node["Index Name"])
            total.descents += node["Actual Loops"] * _searched(node.get("Index Cond", ""))
        if node["Node Type"] == "Seq Scan":
            total.whole_reads.add(node["Relation Name"])
        if node["Node Type"] == "ModifyTable" and node["Operation"] == "Insert":
            written = _indexes(connection, node["Relation Name"])
            total.indexes |= written
            total.descents += len(written)


def _searched(condition: str) -> int:
    """How often a scan goes down its index: once for each value of a list, which PostgreSQL writes as ANY ('{a,b}')."""
    lists = re.findall(r"= ANY \('\{(.*?)\}'", condition)
    return max([1, *(len(values.split(",")) for values in lists)])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _indexes(connection: Any, table: str) -> set[str]:
    """Those of a table that every new row goes into."""
    with connection.cursor() as aside:
        aside.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND indpred IS NULL",
            (table,),
        )
        return {name for (name,) in aside.fetchall()}
