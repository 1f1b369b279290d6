"""`strop jobs …`"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from strop.cli.follow import describe, follow
from strop.cli.verb import Out, UsageError, Verb
from strop.client import Client
from strop.records import Job, State


def create(client: Client, given: argparse.Namespace, out: Out) -> int | None:
    body = _body(given.file, given.set)
    job = client.jobs.create(**body, idempotency_key=given.idempotency_key)
    out.record(job, f"{job.id} {job.state}")
    return _watch(client, job.id, 0, out) if given.watch else None


def create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", metavar="FILE", help="the body of POST /jobs, JSON; - reads standard input")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="a field, in place of the file's: steps=10, method.candidates=4; VALUE is JSON, else a string",
    )  # fmt: skip
    parser.add_argument("--watch", action="store_true", help="follow the job to its end")
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key and body make one job, however often")


def get(client: Client, given: argparse.Namespace, out: Out) -> None:
    job = client.jobs.get(given.id)
    attempts = [
        f"  attempt {each.fence} on {each.worker}" + (f" ({each.device})" if each.device else "") + f": {each.cause or 'running'}"
        for each in job.attempts
    ]  # fmt: skip
    out.record(job, describe(job), *attempts)


def list_jobs(client: Client, given: argparse.Namespace, out: Out) -> None:
    found = client.jobs.list(given.state, limit=min(100, given.limit))
    out.table(
        list(islice(found, given.limit)),
        ("ID", "STATE", "STEP", "REWARD", "ADAPTER", "CREATED"),
        lambda job: (
            job.id, job.state, f"{job.progress.step}/{job.progress.steps}",
            None if job.progress.reward is None else f"{job.progress.reward:.4f}",
            job.adapter, job.created_at and f"{job.created_at.astimezone():%Y-%m-%d %H:%M}",
        ),
    )  # fmt: skip


def list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=[str(each) for each in State if each is not State.UNKNOWN])
    parser.add_argument("--limit", type=_count, default=20, metavar="N", help="how many at most (20)")


def watch(client: Client, given: argparse.Namespace, out: Out) -> int:
    return _watch(client, given.id, given.after, out)


def watch_arguments(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument("--after", type=int, default=0, metavar="N", help="with --json: only events after number N")


def wait(client: Client, given: argparse.Namespace, out: Out) -> None:
    with _goes_on(given.id):
        job = client.jobs.wait(given.id, timeout=given.timeout)
    out.record(job, describe(job))


def wait_arguments(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after so many (default: never)")


def cancel(client: Client, given: argparse.Namespace, out: Out) -> None:
    job = client.jobs.cancel(given.id)
    out.record(job, f"{job.id} {job.state}")


def download(client: Client, given: argparse.Namespace, out: Out) -> None:
    kinds = given.kind or ["adapter", "manifest"]
    paths = client.artifacts.download(given.id, given.into or given.id, kinds)
    out.record([str(path) for path in paths], *map(str, paths))


def download_arguments(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument("--into", metavar="DIR", type=Path, help="folder to write to (default: one named as the job)")
    parser.add_argument("--kind", action="append", help="adapter, manifest, checkpoint, sample, log; may be repeated")


def one_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job's id: job_…")


VERBS = {
    "create": Verb("queue a job", create, create_arguments),
    "get": Verb("show one job", get, one_job),
    "list": Verb("show jobs, newest first", list_jobs, list_arguments),
    "watch": Verb("follow a job to its end; exit code 1 unless it succeeded", watch, watch_arguments),
    "wait": Verb("wait for a job's end in silence; exit code 1 unless it succeeded", wait, wait_arguments),
    "cancel": Verb("stop a job", cancel, one_job),
    "download": Verb("fetch what a job made, checked", download, download_arguments),
}


def _watch(client: Client, id: str, after: int, out: Out) -> int:
    with _goes_on(id):
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
def _goes_on(id: str) -> Iterator[None]:
    """Ctrl-C ends the watching, not the job."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"job {id} goes on; watch on with: strop jobs watch {id}") from None


def _body(file: str | None, changes: list[str]) -> dict[str, Any]:
    """The file with the changes put in. Raises UsageError."""
    if file is None and not changes:
        raise UsageError("say what to create: -f FILE, --set NAME=VALUE, or both")
    try:
        text = "{}" if file is None else sys.stdin.read() if file == "-" else Path(file).read_text()
        body = json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from None
    if not isinstance(body, dict):
        raise UsageError(f"{file} is not a JSON object")
    for change in changes:
        path, equals, value = change.partition("=")
        *parents, name = path.split(".")
        place = body
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UsageError(f"--set {change}: {parent} is not an object")
        if not (equals and name):
            raise UsageError(f"--set {change}: write NAME=VALUE")
        place[name] = _json_or_string(value)
    if "idempotency_key" in body:
        raise UsageError("idempotency_key is no field of a job; give --idempotency-key")
    return body


def _json_or_string(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return number
