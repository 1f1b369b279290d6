"""`strop jobs create`, `clone`, `certificate`: verbs that make a job, and may follow it to its end."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from strop.cli.follow import watched
from strop.cli.verb import Out, UsageError
from strop.client import Client
from strop.records import Job


def create(client: Client, given: argparse.Namespace, out: Out) -> int | None:
    if given.file is None and not given.set:
        raise UsageError("say what to create: -f FILE, --set NAME=VALUE, or both")
    body = _body(given.file, given.set)
    return _made(client, client.jobs.create(**body, idempotency_key=given.idempotency_key), given, out)


def create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", metavar="FILE", help="the body of POST /jobs, JSON; - reads standard input")
    _set_argument(parser, "a field, in place of the file's")
    _made_arguments(parser)


def clone(client: Client, given: argparse.Namespace, out: Out) -> int | None:
    overrides = _body(given.file, given.set)
    return _made(client, client.jobs.clone(given.id, overrides, idempotency_key=given.idempotency_key), given, out)


def clone_arguments(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        help="what is to be different, JSON; - reads standard input; null takes a field out",
    )
    _set_argument(parser, "a field that is to be different")
    _made_arguments(parser)


def certificate(client: Client, given: argparse.Namespace, out: Out) -> int | None:
    job = client.jobs.certificate(
        given.id, given.from_step, given.steps, priority=given.priority, idempotency_key=given.idempotency_key
    )
    code = _made(client, job, given, out)
    if not given.watch or code:
        return code
    found = client.jobs.get(job.id).certificate
    return 0 if found and found.holds else 1


def certificate_arguments(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument(
        "--from-step", type=int, metavar="N", help="the stored checkpoint to replay from (the last but one)"
    )
    parser.add_argument("--steps", type=int, metavar="K", help="steps to replay (up to the next stored checkpoint)")
    parser.add_argument("--priority", type=int, metavar="P", help="-10 to 10 (default: behind training)")
    _made_arguments(parser)


def one_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job's id: job_…")


def said(job: Job, out: Out) -> None:
    out.record(job, f"{job.id} {job.state}")


def _made(client: Client, job: Job, given: argparse.Namespace, out: Out) -> int | None:
    said(job, out)
    return watched(client, job.id, 0, out) if given.watch else None


def _made_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="follow the job to its end")
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key and body make one job, however often")


def _set_argument(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help=f"{what}: steps=10, method.candidates=4; VALUE is JSON, else a string",
    )  # fmt: skip


def _body(file: str | None, changes: list[str]) -> dict[str, Any]:
    """The file with the changes put in. Raises UsageError."""
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
