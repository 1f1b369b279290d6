"""Runs the tasks: the first whose needs are met, in one process or two, until nothing is left or somebody stops it.

A stop at any moment costs at most what a task had not saved yet (`running.py`, `searching.py`). One runner at a time.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process

from benchmarks.compare.scale import Scale
from benchmarks.compare.store import keep, provenance
from benchmarks.compare.tasks import Task, every_task, finished


def run(scale: Scale, processes: int, only: Sequence[str] = ("",)) -> list[str]:
    """Work off the tasks (those whose names begin with one of `only`); returns a sentence for each that failed."""
    with alone(scale):
        return Runner(scale, processes, only).run()


class Runner:
    """What is done, what runs, what failed in this session, and how fast it goes."""

    def __init__(self, scale: Scale, processes: int, only: Sequence[str]) -> None:
        self._scale, self._processes, self._only = scale, processes, tuple(only)
        self._tasks: list[Task] = []
        self._done: set[str] = set()
        self._look()
        self._running: dict[Future[float], Task] = {}
        self._failed: dict[str, str] = {}
        self._estimated, self._taken = 0.0, 0.0

    def run(self) -> list[str]:
        context = get_context("spawn")
        with ProcessPoolExecutor(self._processes, mp_context=context, initializer=one_thread) as pool:
            try:
                self._fill(pool)
                while self._running:
                    ended, _ = wait(self._running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        self._end(future)
                    self._fill(pool)
            except BrokenProcessPool as error:
                raise SystemExit(f"a process of the comparison was killed; {self._again} goes on from here") from error
            except KeyboardInterrupt:
                print(f"stopped; {self._again} goes on from here", flush=True)
                for process in list(pool._processes.values()):  # what runs is saved, and goes on next time
                    process.terminate()
                raise
        return [f"{name}: {reason}" for name, reason in self._failed.items()]

    @property
    def _again(self) -> str:
        return "the same command" if self._scale.name == "full" else "the same command with --resume"

    def _look(self) -> None:
        """At what there is to do, and what is done: an outcome may add to it (`tuning.py`)."""
        every = every_task(self._scale)
        self._tasks = [task for task in every if task.name.startswith(self._only)]
        self._done = {task.name for task in every if finished(self._scale, task)}

    def _fill(self, pool: ProcessPoolExecutor) -> None:
        while len(self._running) < self._processes and (task := self._next()):
            self._running[pool.submit(perform, self._scale, task.name)] = task

    def _next(self) -> Task | None:
        busy = {task.name for task in self._running.values()}
        for task in self._tasks:
            open_ = task.name not in self._done | busy and task.name not in self._failed
            if open_ and all(need in self._done for need in task.needs):
                return task
        return None

    def _end(self, future: Future[float]) -> None:
        task = self._running.pop(future)
        error = future.exception()
        if error is not None:
            if isinstance(error, BrokenProcessPool):
                raise error
            self._failed[task.name] = f"{type(error).__name__}: {error}"
            print(f"FAILED {task.name}: {self._failed[task.name]}", flush=True)
            return
        self._look()
        self._estimated, self._taken = self._estimated + task.seconds, self._taken + future.result()
        print(f"done   {task.name} in {future.result():.0f} s; {self._time_left()}", flush=True)

    def _time_left(self) -> str:
        """At the pace of this session; what failed or waits for it is not counted."""
        pending = [task for task in self._tasks if task.name not in self._done and task.name not in self._failed]
        pace = self._taken / self._estimated if self._estimated else 1.0
        left = sum(task.seconds for task in pending) * pace / self._processes
        return f"{len(pending)} tasks left, about {hours(left)}"


def perform(scale: Scale, name: str) -> float:
    """One task, in a process of the pool; its outcome is on disk when this returns. Wall seconds."""
    provenance()
    task = next(task for task in every_task(scale) if task.name == name)
    started = time.monotonic()
    print(f"begin  {name} (about {hours(task.seconds)})", flush=True)
    outcome = task.work(scale, scale.scratch / "work" / name, lambda sentence: print(f"       {sentence}", flush=True))
    keep(scale.outcomes, name, {"task": name, **outcome})
    return time.monotonic() - started


def hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60:02} min"
        if minutes >= 60
        else f"{minutes} min"
        if minutes
        else f"{seconds:.0f} s"
    )


def one_thread() -> None:
    """Of a process of the pool: one thread, and no life beyond its parent's."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    import torch

    torch.set_num_threads(1)


@contextmanager
def alone(scale: Scale) -> Iterator[None]:
    """Two runners would do the same work twice. The lock goes with the process, however it ends."""
    scale.scratch.mkdir(parents=True, exist_ok=True)
    with (scale.scratch / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SystemExit(
                "another run of the comparison is going on in this checkout: wait for it, or stop it"
            ) from error
        yield
