"""What a verb's pages do when the finished jobs beside it become many: the same verbs, beside few and beside many."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.queue import naive
from benchmarks.queue.crowd import NOTHING, VERBS, Ask, Crowd
from benchmarks.queue.plans import Cost, measured, typical
from service.adapters import db, storage
from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry

ROUNDS = 5
CATALOGUE = Catalogue(
    bases={"shapes": BaseModelEntry(name="shapes", source="/models/shapes", family="sd", resolution=64)},
    rewards={"shapes-clip": RewardModelEntry(name="shapes-clip", source="/models/clip", type="clip")},
)
Row = dict[str, Any]


@contextmanager
def crowded(server_url: str, finished: int, folder: Path) -> Iterator[Crowd]:
    """A database of its own with so many finished jobs, and the same kind of plan beside few as beside many: by index scans.

    Left to itself, the planner reads small tables whole.
    """
    name = f"crowd_{finished}"
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        for kind in ("seqscan", "bitmapscan"):
            connection.execute(f"ALTER DATABASE {name} SET enable_{kind} = off")
    database = db.connect(f"{server_url}/{name}")
    try:
        db.upgrade(database)
        crowd = Crowd(database, storage.make(f"file://{folder}/store-{finished}"), CATALOGUE, folder)
        crowd.fill(finished)
        yield crowd
    finally:
        database.close()


def costs(crowd: Crowd, verbs: Mapping[str, tuple[Ask, Ask]] = VERBS) -> dict[str, Cost]:
    """Each verb a few times, the world tidied before each; the first time, which brings pages into memory, not counted."""
    found = {}
    for name, (prepare, ask) in verbs.items():
        rounds = []
        for _ in range(ROUNDS + 1):
            prepare(crowd)
            crowd.tidy()
            rounds.append(measured(crowd.database.engine, lambda ask=ask: ask(crowd)))  # type: ignore[misc]
        found[name] = typical(rounds[1:])
    return found


def naive_costs(crowd: Crowd, finished: int) -> dict[str, Cost]:
    """With whatever plan the planner likes."""
    naive.make(crowd)
    crowd.sql(f"ALTER DATABASE {crowd.database.engine.url.database} RESET ALL")
    crowd.database.engine.dispose()
    return costs(crowd, {name: (NOTHING, ask) for name, ask in naive.verbs(finished).items()})


def rows(few: Mapping[str, Cost], many: Mapping[str, Cost]) -> list[Row]:
    """`holds`: at most one page more for each time that an index was gone down, and no table read whole."""
    made = []
    for name in few:
        more = many[name].pages - few[name].pages
        made.append(
            {
                "verb": name,
                "pages_few": few[name].pages,
                "pages_many": many[name].pages,
                "more": more,
                "descents": many[name].descents,
                "indexes": sorted(many[name].indexes),
                "whole_reads": sorted(many[name].whole_reads),
                "milliseconds_few": few[name].milliseconds,
                "milliseconds_many": many[name].milliseconds,
                "holds_per_index": more <= len(many[name].indexes),
                "holds": more <= many[name].descents and not many[name].whole_reads,
            }
        )
    return made


def table(made: Sequence[Row]) -> list[str]:
    head = "| verb | pages, few | pages, many | more | indexes | times gone down | ms, few | ms, many |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in made:
        whole = f" (reads {', '.join(row['whole_reads'])} whole)" if row["whole_reads"] else ""
        lines.append(
            f"| {row['verb']} | {row['pages_few']} | {row['pages_many']} | {row['more']:+d} | {len(row['indexes'])}{whole} "
            f"| {row['descents']} | {row['milliseconds_few']:.2f} | {row['milliseconds_many']:.2f} |"
        )
    return lines
