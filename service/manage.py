"""`python -m service.manage VERB`: what an operator does by hand or a supervisor starts. A new verb is a line in VERBS.

migrate   bring the database to the newest schema
steward   run the loops that no request asked for, until SIGTERM
up        start the embedded stack and leave it running until Ctrl-C or SIGTERM
digest    print what pins a model's folder in the catalogue
openapi   write docs/openapi.json anew; with --check only say whether it is fresh
states    write docs/jobs-states.md anew; with --check only say whether it is fresh
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event

from service import settings, telemetry
from service.adapters import db, storage, weights
from service.domain import drawing
from service.domain.errors import StropError
from service.operations.attempts import Attempts
from service.operations.retention import DAY, Keep
from service.operations.steward import chores, keep_house, pulse_of
from service.rest import face
from service.wire.listening import refuse_taken_port

DOCS = Path(__file__).resolve().parents[1] / "docs"
OPENAPI = DOCS / "openapi.json"
STATES = DOCS / "jobs-states.md"


@dataclass(frozen=True, slots=True)
class Verb:
    """`run` returns the process's exit status; `arguments` adds the verb's own, where it has any."""

    help: str
    run: Callable[[argparse.Namespace], int]
    arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def migrate(arguments: argparse.Namespace) -> int:
    chosen = settings.load()
    telemetry.configure("migrate", chosen.log_level)
    database = db.connect(chosen.database_url)
    db.upgrade(database)
    database.close()
    return 0


def steward(arguments: argparse.Namespace) -> int:
    chosen = settings.load()
    telemetry.configure("steward", chosen.log_level)
    refuse_taken_port("STROP_STEWARD_HEALTH_PORT", telemetry.LOOPBACK, chosen.steward_health_port or 0)
    database = db.connect(chosen.database_url)
    store = storage.make(chosen.store_url, chosen.s3_endpoint_url, chosen.s3_public_url)
    attempts = Attempts(
        database,
        store,
        lease_seconds=chosen.lease_seconds,
        attempt_limit=chosen.attempt_limit,
        backoff_seconds=chosen.backoff_seconds,
    )
    stop = Event()
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: stop.set())
    keep = Keep(
        checkpoints=chosen.keep_checkpoints_days * DAY,
        events=chosen.keep_events_days * DAY,
        uploads=chosen.keep_uploads_days * DAY,
        drawn=chosen.keep_drawn_seconds,
    )
    clock = partial(datetime.now, UTC)
    todo = chores(database, store, attempts, keep, clock, lease_seconds=chosen.lease_seconds)
    pulse = pulse_of(todo)
    with telemetry.served(pulse, chosen.steward_health_port):
        keep_house(todo, stop, pulse)
    database.close()
    return 0


def up(arguments: argparse.Namespace) -> int:
    from service.embedded import stack  # its supervisor is in no image

    chosen = settings.load()
    chosen.state_dir.mkdir(parents=True, exist_ok=True)
    stack.refuse_second(chosen)
    migrate(arguments)
    stack.up(chosen)


def openapi(arguments: argparse.Namespace) -> int:
    return _written(OPENAPI, face.openapi_text(), check=arguments.check)


def states(arguments: argparse.Namespace) -> int:
    return _written(STATES, drawing.page(), check=arguments.check)


def _written(path: Path, made: str, *, check: bool) -> int:
    """Write a generated file, or only say whether it is fresh."""
    if not check:
        path.write_text(made, encoding="utf-8")
        return 0
    if path.is_file() and path.read_text(encoding="utf-8") == made:
        return 0
    print(f"strop: docs/{path.name} is stale; say make {path.stem.removeprefix('jobs-')}", file=sys.stderr)
    return 1


def check_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the file is stale")


def digest(arguments: argparse.Namespace) -> int:
    try:
        print(weights.digest(arguments.folder))
    except ValueError as error:
        print(f"strop: {arguments.folder}: {error}", file=sys.stderr)
        return 1
    return 0


def digest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a model in the diffusers or transformers folder format")


VERBS: dict[str, Verb] = {
    "migrate": Verb("bring the database to the newest schema", migrate),
    "steward": Verb("run the loops that no request asked for", steward),
    "up": Verb("start the embedded stack", up),
    "digest": Verb("print what pins a model's folder in the catalogue", digest, digest_arguments),
    "openapi": Verb("write docs/openapi.json anew, or check it", openapi, check_argument),
    "states": Verb("write docs/jobs-states.md anew, or check it", states, check_argument),
}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m service.manage", description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        verb.arguments(verbs.add_parser(name, help=verb.help, description=verb.help))
    chosen = parser.parse_args(words)
    try:
        return VERBS[chosen.verb].run(chosen)
    except StropError as error:
        cause = str(error.__cause__).split("\n")[0] if error.__cause__ else ""
        print(f"strop: {error.message}{cause and f' ({cause})'}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
