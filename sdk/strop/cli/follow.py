"""A watched job as a live bar (step, reward, NFE, time left), or as lines where there is no terminal."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from strop.cli.verb import Out
from strop.client import Client
from strop.errors import StropError
from strop.records import Certificate, Event, Job, State

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
    if job.stop_reason not in (None, "completed"):
        parts.append(f"stopped by {job.stop_reason}")
    if job.wait_reason:
        parts.append(job.wait_reason)
    if job.certificate:
        parts.append(certificate(job.certificate))
    if job.adapter:
        parts.append(f"adapter {job.adapter}")
    if job.error:
        parts.append(f"{job.error.code}: {job.error.message}")
    return "  ".join(parts)


def certificate(found: Certificate) -> str:
    """certificate of steps 10 to 20 holds."""
    return f"certificate of steps {found.from_step} to {found.to_step} {'holds' if found.holds else 'does NOT hold'}"


def duration(seconds: float) -> str:
    """1 h 02 min, 3 min 20 s, 45 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


def watched(client: Client, id: str, after: int, out: Out) -> int:
    """Follow a job to its end; the exit code is 1 unless it succeeded."""
    with goes_on(id):
        updates = client.jobs.watch(id, after)
        if not out.json:
            return _code(follow(updates, out.console))
        job: Job | None = None
        for update in updates:
            job = update if isinstance(update, Job) else job
            out.record(update)
        return 1 if job is None else _code(job)


def _code(job: Job) -> int:
    return 0 if job.state is State.SUCCEEDED else 1


@contextmanager
def goes_on(id: str) -> Iterator[None]:
    """Ctrl-C ends the watching, not the job."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"job {id} goes on; watch on with: strop jobs watch {id}") from None


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
