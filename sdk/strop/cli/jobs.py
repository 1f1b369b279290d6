"""`strop jobs …`"""

import argparse
from itertools import islice
from pathlib import Path

from strop.cli import making
from strop.cli.follow import certificate, describe, goes_on, watched
from strop.cli.making import one_job, said
from strop.cli.verb import Out, Verb
from strop.client import Client
from strop.records import State


def get(client: Client, given: argparse.Namespace, out: Out) -> None:
    job = client.jobs.get(given.id)
    attempts = [
        f"  attempt {each.fence} on {each.worker}" + (f" ({each.device})" if each.device else "") + f": {each.cause or 'running'}"
        for each in job.attempts
    ]  # fmt: skip
    found = [f"  {certificate(each)} by {each.job}" for each in job.certificates]
    out.record(job, describe(job), *attempts, *found)


def list_jobs(client: Client, given: argparse.Namespace, out: Out) -> None:
    found = client.jobs.list(given.state, limit=min(100, given.limit), kind=given.kind)
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
    parser.add_argument("--kind", choices=["sharpening", "certificate"])
    parser.add_argument("--limit", type=_count, default=20, metavar="N", help="how many at most (20)")


def watch(client: Client, given: argparse.Namespace, out: Out) -> int:
    return watched(client, given.id, given.after, out)


def watch_arguments(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument("--after", type=int, default=0, metavar="N", help="with --json: only events after number N")


def wait(client: Client, given: argparse.Namespace, out: Out) -> None:
    with goes_on(given.id):
        job = client.jobs.wait(given.id, timeout=given.timeout)
    out.record(job, describe(job))


def wait_arguments(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after so many (default: never)")


def cancel(client: Client, given: argparse.Namespace, out: Out) -> None:
    said(client.jobs.cancel(given.id), out)


def pause(client: Client, given: argparse.Namespace, out: Out) -> None:
    said(client.jobs.pause(given.id), out)


def resume(client: Client, given: argparse.Namespace, out: Out) -> None:
    said(client.jobs.resume(given.id), out)


def retry(client: Client, given: argparse.Namespace, out: Out) -> None:
    said(client.jobs.retry(given.id), out)


def download(client: Client, given: argparse.Namespace, out: Out) -> None:
    kinds = given.kind or ["adapter", "manifest"]
    paths = client.artifacts.download(given.id, given.into or given.id, kinds)
    out.record([str(path) for path in paths], *map(str, paths))


def download_arguments(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument("--into", metavar="DIR", type=Path, help="folder to write to (default: one named as the job)")
    parser.add_argument("--kind", action="append", help="adapter, manifest, checkpoint, sample, log; may be repeated")


VERBS = {
    "create": Verb("queue a job", making.create, making.create_arguments),
    "get": Verb("show one job", get, one_job),
    "list": Verb("show jobs, newest first", list_jobs, list_arguments),
    "watch": Verb("follow a job to its end; exit code 1 unless it succeeded", watch, watch_arguments),
    "wait": Verb("wait for a job's end in silence; exit code 1 unless it succeeded", wait, wait_arguments),
    "cancel": Verb("stop a job", cancel, one_job),
    "pause": Verb("stop a running job at its next step, with a checkpoint", pause, one_job),
    "resume": Verb("let a paused job go on from its last checkpoint", resume, one_job),
    "retry": Verb("let a failed job go on from its last checkpoint", retry, one_job),
    "clone": Verb("queue a job like another, with changes", making.clone, making.clone_arguments),
    "certificate": Verb(
        "have steps replayed from a stored checkpoint; with --watch exit code 1 unless it holds",
        making.certificate,
        making.certificate_arguments,
    ),
    "download": Verb("fetch what a job made, checked", download, download_arguments),
}


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return number
