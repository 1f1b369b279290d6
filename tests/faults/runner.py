"""Runs rows side by side, each on a site of its own, checks the invariants after each, and tells as they finish."""

import shutil
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.faults.checker import Violation
from tests.faults.row import Figures, Result, Row
from tests.faults.servers import Servers
from tests.faults.site import Parts, Site


@dataclass(frozen=True)
class Task:
    row: Row
    parts: Parts
    rounds: int

    @property
    def cost(self) -> float:
        return self.row.cost(self.rounds)


def full(rows: Sequence[Row]) -> list[Task]:
    return [Task(row, parts, row.rounds) for row in rows for parts in row.parts]


def short(rows: Sequence[Row]) -> list[Task]:
    """One of its parts for each row, by turns."""
    return [Task(row, row.parts[place % len(row.parts)], row.short) for place, row in enumerate(rows) if row.short]


def run(
    tasks: Sequence[Task],
    servers: Servers,
    *,
    lanes: int,
    limit_seconds: float,
    tell: Callable[[Result, float], None] = lambda result, left: None,
) -> list[Result]:
    """In the order of `tasks`. The longest begin first; what has not begun after `limit_seconds` is not run, and does not hold.

    `tell(result, seconds that are left, about)` is called as each finishes.
    """
    until = time.monotonic() + limit_seconds
    waiting = sorted(tasks, key=lambda task: -task.cost)
    left = sum(task.cost for task in tasks)
    results: dict[Task, Result] = {}

    def work(task: Task) -> Result:
        if time.monotonic() > until:
            return Result(task.row, task.parts, 0, {}, [Violation("not run", "the time was over")], 0.0)
        return run_one(task, servers)

    with ThreadPoolExecutor(lanes, "lane") as pool:
        futures = {pool.submit(work, task): task for task in waiting}
        for future in as_completed(futures):
            task = futures[future]
            left -= task.cost
            results[task] = future.result()
            tell(results[task], left / lanes)
    return [results[task] for task in tasks]


def run_one(task: Task, servers: Servers, *, build: str = "", patience: float = 1.0) -> Result:
    """The row, then the checker. Nothing that the row raises gets out: it is a violation of that row. `build`, `patience`:
    the site's."""
    began = time.monotonic()
    folder = servers.folder / f"{threading.get_ident()}-{began}"
    folder.mkdir()
    figures: Figures = {}
    found: list[Violation] = []
    try:
        site = Site(folder, task.parts, servers, own=task.row.own, build=build, patience=patience)
        try:
            figures, found = _on_site(task, site)
        finally:
            site.close()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        sentence = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
        found.append(Violation("row", sentence))
    if not found:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(task.row, task.parts, task.rounds, figures, found, time.monotonic() - began)


def _on_site(task: Task, site: Site) -> tuple[Figures, list[Violation]]:
    failed: list[Violation] = []
    figures: Figures = {}
    try:
        figures = task.row.run(site, task.rounds)
    except AssertionError as error:
        failed.append(Violation("row", f"{str(error).splitlines()[0] if str(error) else error!r}"))
    site.settle(task.row.settle_seconds)
    violations, _ = site.verdict()
    for name in task.row.none:
        if figures.get(name, 0):
            failed.append(Violation(name, f"{figures[name]:g}, and it must be 0"))
    return figures, failed + violations
