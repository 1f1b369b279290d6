"""Follows a job by polling it with its ETag, behind a progress bar: step, reward, time left."""

import time
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 3600
ENDED = {"succeeded", "failed", "cancelled"}


def follow(gateway: httpx.Client, job_id: str, console: Console) -> dict[str, Any]:
    """Return the job when it has succeeded; SystemExit with its error otherwise."""
    columns = (
        TextColumn("{task.fields[state]}"), BarColumn(), TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
        TextColumn("reward {task.fields[reward]}"), TextColumn("{task.fields[left]}"),
    )  # fmt: skip
    etag, job = "", {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("job", total=1, state="queued", reward="–", left="")
        while time.monotonic() < deadline:
            answer = gateway.get(f"/jobs/{job_id}", headers={"If-None-Match": etag} if etag else {})
            if answer.status_code != httpx.codes.NOT_MODIFIED:
                job, etag = answer.raise_for_status().json(), answer.headers.get("etag", "")
                progress = job["progress"]
                reward, left = progress["reward"], progress["seconds_left"]
                bar.update(
                    task, completed=progress["step"], total=progress["steps"], state=job["state"],
                    reward="–" if reward is None else f"{reward:.4f}", left="" if left is None else f"{left:.0f} s left",
                )  # fmt: skip
                if job["state"] in ENDED:
                    break
            time.sleep(POLL_SECONDS)
    if job.get("state") != "succeeded":
        raise SystemExit(f"demo: job {job_id} is {job.get('state')}: {job.get('error')}")
    return job
