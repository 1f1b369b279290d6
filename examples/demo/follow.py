"""Follows a job over gRPC behind the client's own bar: step, reward, NFE, time left."""

from collections.abc import Iterator

import strop
from rich.console import Console
from strop.cli import follow as bar


def follow(client: strop.Client, job_id: str, console: Console) -> tuple[strop.Job, list[strop.Event]]:
    """The job when it has succeeded, and its steps in order; SystemExit with its error otherwise."""
    by_step: dict[int, strop.Event] = {}

    def noted() -> Iterator[strop.Job | strop.Event]:
        for update in client.jobs.watch(job_id):
            if isinstance(update, strop.Event) and update.type == "job.step" and update.step is not None:
                by_step[update.step] = update  # where a step was run twice, the later one counts
            yield update

    job = bar.follow(noted(), console)
    if job.state is not strop.State.SUCCEEDED:
        raise SystemExit(f"demo: {bar.describe(job)}")
    return job, [by_step[step] for step in sorted(by_step)]
