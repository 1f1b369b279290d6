"""The comparison's command line.

    python -m benchmarks.compare [--quick] [--processes 1] [--only BEGINNING …]   # run what is not done yet; stop and start at will
    python -m benchmarks.compare plan        # every task with its state and estimate
    python -m benchmarks.compare table       # results.json, tuning.json, ablations.json, docs/comparison.md, plots, docs/failures.md
    python -m benchmarks.compare goals       # P2, P3, P4, P13, P14, sharpening-rlhf − online-dpo: met, missed by how much, or void
    python -m benchmarks.compare failures    # docs/failures.md alone: what got worse, what the reward is blind to
    python -m benchmarks.compare recompute ROW [--retrain]   # are the row's figures met?

`--quick` begins at nothing each time and says what it took; `--resume` goes on with what the last one left.
Outcomes carry the commit and the CPU that made them: a run goes on over many sessions and commits, on one kind of machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from benchmarks.compare.runner import alone, hours, run
from benchmarks.compare.scale import FULL, Scale, quick
from benchmarks.compare.tasks import every_task, finished


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = ("run", "plan", "table", "goals", "failures", "recompute")
    parser.add_argument("verb", nargs="?", default="run", choices=verbs)
    parser.add_argument("row", nargs="?", help="of recompute: the task's name, as plan lists it")
    parser.add_argument("--quick", action="store_true", help="a smoke run of everything in minutes, under build/")
    parser.add_argument("--resume", action="store_true", help="with --quick: keep what an earlier smoke run finished")
    parser.add_argument("--processes", type=int, default=1, help="tasks at a time, one thread each")
    parser.add_argument("--only", nargs="+", default=[""], help="tasks whose names begin with one of these")
    parser.add_argument(
        "--retrain", action="store_true", help="recompute: train again from the recipe, however long it takes"
    )
    arguments = parser.parse_args()
    scale = quick() if arguments.quick else FULL
    if arguments.verb == "run":
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        started = time.monotonic()
        if arguments.quick and not arguments.resume:
            clear(scale)
        failed = run(scale, arguments.processes, arguments.only)
        tell(scale)
        print(f"{scale.name}: {time.monotonic() - started:,.0f} s of wall time, tables and plots included", flush=True)
        if failed:
            sys.exit("\n".join(["these tasks failed; the same command tries them again:", *failed]))
    elif arguments.verb == "plan":
        plan(scale)
    elif arguments.verb == "recompute":
        from benchmarks.compare.recompute import recompute

        if arguments.row is None:
            parser.error("recompute needs the name of a row's task, as plan lists it")
        sys.exit(0 if recompute(scale, arguments.row, arguments.retrain) else 1)
    elif arguments.verb == "goals":
        from benchmarks.compare.goals import goals

        print("\n".join(goals(scale)))
    elif arguments.verb == "failures":
        from benchmarks.compare.failures import write_page

        write_page(scale)
    else:
        tell(scale)


def clear(scale: Scale) -> None:
    """A smoke run of what an older checkout finished would smoke nothing: all that it made goes, but its lock."""
    with alone(scale):
        for path in scale.scratch.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()


def tell(scale: Scale) -> None:
    """Everything that is made of outcomes."""
    from benchmarks.compare import failures, page
    from benchmarks.compare.results import write_results

    write_results(scale)
    page.write_page(scale)
    if failures.ready(scale):
        failures.write_page(scale)


def plan(scale: Scale) -> None:
    tasks = every_task(scale)
    done = {task.name for task in tasks if finished(scale, task)}
    for task in tasks:
        state = "done" if task.name in done else hours(task.seconds)
        print(f"{state:>10}  {task.name}")
    left, whole = (sum(task.seconds for task in some) for some in ([t for t in tasks if t.name not in done], tasks))
    print(f"\n{len(done)} of {len(tasks)} tasks are done; about {hours(left)} of one core are left of {hours(whole)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
