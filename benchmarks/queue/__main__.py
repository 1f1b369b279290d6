"""`make bench-queue`: what the queue costs, on a real PostgreSQL with fsync on and a real broker; writes results.json beside this.

growth   the pages that each verb touches beside 10^3 and beside 10^6 finished jobs, and those of a naive schema
waking   commit → claim against a bare Celery task, for an idle worker and between two jobs; the time to the first step

--only PART    one of the two; the other's rows stay as they are in results.json
--rounds N     of the waking part (300); a third of it for pairs of jobs
--finished N   how many finished jobs are many (1,000,000)
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.queue import growth, waking
from benchmarks.queue.statistics import row
from tests.servers import postgresql, valkey

RESULTS = Path(__file__).with_name("results.json")
FEW = 1_000
GOALS = {0.5: 1.5, 0.99: 2.0}
REAL_ROUNDS = 5
MAJORS = (16, 18)
"""18 reads the neighbours of a list of keys in one descent; 16 goes down the index for each."""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=("growth", "waking"))
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # its servers and workers end with it
    results: dict[str, Any] = json.loads(chosen.results.read_text()) if chosen.results.exists() else {}
    parts = {"growth": lambda: grow(chosen.finished), "waking": lambda: wake(chosen.rounds)}
    for name, part in parts.items():
        if chosen.only in (None, name):
            began = time.monotonic()
            results[name] = {"machine": machine()} | part() | {"seconds": round(time.monotonic() - began)}
            chosen.results.write_text(json.dumps(results, indent=1) + "\n")


def machine() -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def grow(finished: int) -> dict[str, Any]:
    """Counts of pages: the same on every machine with the same PostgreSQL, but for where its pages split."""
    return {"few": FEW, "many": finished, "postgresql": {str(major): _grown(finished, major) for major in MAJORS}}


def _grown(finished: int, major: int) -> dict[str, list[growth.Row]]:
    ours, naive = [], []
    with (
        tempfile.TemporaryDirectory(prefix="strop-bench-") as folder,
        postgresql.cluster(postgresql.DURABLE | SPACE, major) as cluster,
        cluster.running(),
    ):
        for count in (FEW, finished):
            began = time.monotonic()
            with growth.crowded(cluster.url, count, Path(folder)) as crowd:
                print(f"{count:,} finished jobs are in the tables after {time.monotonic() - began:.0f} s", flush=True)
                ours.append(growth.costs(crowd))
                naive.append(growth.naive_costs(crowd, count))
    made = {"ours": growth.rows(*ours), "naive": growth.rows(*naive)}
    for name, rows in made.items():
        print(f"\n{name}, PostgreSQL {major}\n" + "\n".join(growth.table(rows)), flush=True)
    return made


SPACE = {"shared_buffers": "512MB", "max_wal_size": "4GB", "maintenance_work_mem": "256MB"}
"""Room to fill the tables in; nothing that is counted depends on it."""


def wake(rounds: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="strop-bench-") as folder,
        postgresql.cluster(postgresql.DURABLE | {"track_commit_timestamp": "on"}) as cluster,
        cluster.running(),
        valkey.broker(tcp=True) as broker,
        broker.running(),
    ):
        url = f"{cluster.url}/postgres"
        with waking.places(Path(folder), url, broker.url) as (ours, theirs):
            times = waking.run(ours, theirs, rounds, max(1, rounds // 3))
        real = Path(folder) / "real"
        real.mkdir()
        times.first_step_real = waking.real_first_steps(real, url, broker.url, REAL_ROUNDS)
    made = [
        row(name, mine, bare, quantile, goal)
        for name, mine, bare in (
            ("commit to claim, idle worker", times.woken_ours, times.woken_bare),
            ("child's exit to the next claim", times.next_ours, times.next_bare),
        )
        for quantile, goal in GOALS.items()
    ]
    firsts = [
        {"name": name, "rounds": len(series), "median_ms": round(float(np.median(series)) * 1000)}
        for name, series in (
            ("commit to the first step, child without torch", times.first_step),
            ("commit to the first step, real child on the base shapes", times.first_step_real),
        )
    ]
    print("\n| | ours, ms | bare, ms | ratio | 95 % interval | goal | met |\n|---|---|---|---|---|---|---|")
    for each in made:
        low, high = each["interval"]
        print(
            f"| {each['name']} | {each['ours_ms']:.1f} | {each['bare_ms']:.1f} | {each['ratio']:.2f} "
            f"| {low:.2f} to {high:.2f} | {each['goal']} | {'yes' if each['met'] else 'no'} |"
        )
    for each in firsts:
        print(f"{each['name']}: {each['median_ms']} ms (median of {each['rounds']})", flush=True)
    return {"ratios": made, "first_step": firsts}


if __name__ == "__main__":
    main()
