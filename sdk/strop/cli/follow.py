"""A watched job as a live bar (step, reward, NFE, time left), or as lines where there is no terminal."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from strop.errors import StropError
from strop.records import Event, Job

TOLD = frozenset({"job.requeued", "job.resumed"})
"""Events that a bar does not show by itself."""


def follow(updates: Iterable[Job | Event], console: Console) -> Job:
    """Show what `jobs.watch` yields; returns the job as it was last."""
    bar = Bar(console) if console.is_terminal else None
    job: Job | None = None
    said = ""
    context: AbstractContextManager[object] = bar or nullcontext()
    with context:
        for update in updates:
            if isinstance(update, Event):
                if update.type in TOLD:
                    console.print(f"{update.type.removeprefix('job.')} (attempt {update.fence})")
                continue
            job = update
            if bar:
                bar.show(job)
            elif (line := describe(job)) != said:
                said = line
                console.print(line, soft_wrap=True)
    if job is None:
        raise StropError("the watch ended before it began", code="empty_watch")
    return job


def describe(job: Job) -> str:
    """A job in one line."""
    progress = job.progress
    parts = [f"{job.id} {job.state}", f"step {progress.step}/{progress.steps}"]
    if progress.reward is not None:
        parts.append(f"reward {progress.reward:.4f}")
    parts.append(f"{progress.training_nfe:,} NFE")
    if progress.seconds_left is not None and not job.state.ended:
        parts.append(f"{duration(progress.seconds_left)} left")
    if job.adapter:
        parts.append(f"adapter {job.adapter}")
    if job.error:
        parts.append(f"{job.error.code}: {job.error.message}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """1 h 02 min, 3 min 20 s, 45 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


class Bar:
    """One job's line."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[rest]}"), console=console,
        )  # fmt: skip
        self._task: TaskID = self._bar.add_task("…", total=1, rest="")

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, job: Job) -> None:
        progress = job.progress
        _, _, *rest = describe(job).split("  ")
        self._bar.update(
            self._task, description=str(job.state), completed=progress.step, total=max(1, progress.steps),
            rest="  ".join(rest),
        )  # fmt: skip
