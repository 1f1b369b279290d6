"""`python -m benchmarks.faults`: the fault matrix on real parts; prints it row by row, writes results.json beside this file
and the table of docs/faults.md.

--short       the version that is part of the tests
--only WORD   rows whose fault has the word; nothing is written
--lanes N     rows side by side
--keep PATH   a folder for what rows leave behind that do not hold: their processes' logs
--minutes M   no row begins after this; the longest takes four more
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults import runner
from tests.faults.matrix import ROWS
from tests.faults.row import Result
from tests.faults.servers import servers

RESULTS = Path(__file__).with_name("results.json")
DOCS = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- table: written by make faults -->\n", "<!-- end of table -->"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--lanes", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=21)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    rows = [row for row in ROWS if given.only.lower() in row.fault.lower()]
    tasks = runner.short(rows) if given.short else runner.full(rows)
    finished: list[Result] = []

    def tell(result: Result, left: float) -> None:
        finished.append(result)
        place = f"[{len(finished)}/{len(tasks)}, about {left / 60:.0f} min left]"
        print(f"{place} {words(result)}", flush=True)
        for violation in result.violations[:8]:
            print(f"    {violation}", flush=True)

    began, load = time.monotonic(), os.getloadavg()[0]
    with _folder(given.keep) as folder, servers(folder) as found:
        results = runner.run(tasks, found, lanes=given.lanes, limit_seconds=60 * given.minutes, tell=tell)
    seconds = time.monotonic() - began
    print(f"\n{table(results)}\n{len(results)} rows, {seconds:.0f} s", flush=True)
    if not given.only and not given.short:
        write(results, seconds, load)
    return 0 if all(result.held for result in results) else 1


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="strop-faults-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def write(results: list[Result], seconds: float, load: float) -> None:
    """results.json, and the docs' table. `load`: how many processes others had running when it began."""
    where = {
        "cores": os.cpu_count(),
        "load before": round(load, 1),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    content = {"seconds": round(seconds), **where, "rows": [result.line() for result in results]}
    RESULTS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    before, rest = DOCS.read_text(encoding="utf-8").split(BEGIN)
    text = f"{before}{BEGIN}{table(results)}\n{END}{rest.split(END)[1]}"
    DOCS.write_text(text, encoding="utf-8")


def words(result: Result) -> str:
    figures = ", ".join(f"{name} {value:.3g}" for name, value in result.figures.items())
    held = "held" if result.held else "NOT HELD"
    return f"{held}: {result.row.fault} ({result.parts}, {result.rounds} rounds, {result.seconds:.0f} s): {figures}"


def table(results: list[Result]) -> str:
    """As in docs/faults.md."""
    lines = ["| fault | parts | rounds | invariants | held | figures |", "|---|---|---|---|---|---|"]
    for result in results:
        figures = ", ".join(f"{name} {value:.3g}" for name, value in result.figures.items())
        held = "yes" if result.held else "**no**"
        lines.append(
            f"| {result.row.fault} | {result.parts} | {result.rounds} | {result.row.invariants} | {held} | {figures} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
