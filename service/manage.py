"""`python -m service.manage VERB`: what an operator does by hand or a supervisor starts. A new verb is a line in VERBS.

migrate   bring the database to the newest schema
steward   run the loops that no request asked for, until SIGTERM
up        start the embedded stack and leave it running until Ctrl-C or SIGTERM
keygen    make the steward's signing key
remeasure ask again for receipts that were given up
adopt     make the store this database's, so that the steward sweeps it, whatever database it was of
digest    print what pins a model's folder in the catalogue
openapi   write docs/openapi.json anew; with --check only say whether it is fresh
states    write docs/jobs-states.md anew; with --check only say whether it is fresh
"""

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread

from service import settings, telemetry
from service.adapters import db, inference, keys, storage, weights
from service.domain import drawing
from service.domain.adapters import parse_reference
from service.domain.errors import StropError
from service.domain.outside import Store
from service.domain.principals import LOCAL_TENANT
from service.operations.attempts import Attempts
from service.operations.belonging import Belonging
from service.operations.retention import DAY, Keep
from service.operations.signing import Signing
from service.operations.steward import RECEIPT_SECONDS, chores, keep_house, pulse_of, receipt_chores
from service.rest import face
from service.telemetry import Pulse
from service.wire.listening import refuse_taken_port

log = logging.getLogger(__name__)
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
    receipts_beside(chosen, database, store, stop)
    with telemetry.served(pulse, chosen.steward_health_port):
        keep_house(todo, stop, pulse)
    database.close()
    return 0


def receipts_beside(chosen: settings.Settings, database: db.SqlDatabase, store: Store, stop: Event) -> None:
    """Receipts in a thread that dies with the process. Raises BadSigningKey."""
    if not chosen.receipts or chosen.signing_key_file is None or chosen.inference_url is None:
        log.info(
            "no receipts are asked for: that needs STROP_SIGNING_KEY_FILE, STROP_INFERENCE_URL, STROP_RECEIPTS not off"
        )
        return
    key = chosen.api_key.get_secret_value() if chosen.api_key else None
    endpoint, signer = inference.Endpoint(chosen.inference_url, key), keys.load(chosen.signing_key_file)
    signing = Signing(database, store, endpoint, signer, is_stopping=stop.is_set)
    words = (receipt_chores(signing), stop, Pulse(RECEIPT_SECONDS))
    Thread(target=keep_house, args=words, name="receipts", daemon=True).start()


def keygen(arguments: argparse.Namespace) -> int:
    path = arguments.out or settings.load().signing_key_file
    if path is None:
        print("strop: say where to: --out FILE, or set STROP_SIGNING_KEY_FILE", file=sys.stderr)
        return 2
    print(f"strop: wrote {path}, key {keys.generate(path).key_id}")
    return 0


def keygen_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: STROP_SIGNING_KEY_FILE; never overwritten")


def remeasure(arguments: argparse.Namespace) -> int:
    named = parse_reference(arguments.adapter) if arguments.adapter else (None, None)
    if named is None or isinstance(named[1], str):
        print("strop: write NAME or NAME@VERSION", file=sys.stderr)
        return 2
    database = db.connect(settings.load().database_url)
    with database.write() as unit:
        print(f"strop: {unit.receipts.ask_again(LOCAL_TENANT, *named)} receipts will be asked for again")
    database.close()
    return 0


def remeasure_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", metavar="NAME[@VERSION]", nargs="?", help="only of this one; default: of all")


def adopt(arguments: argparse.Namespace) -> int:
    chosen = settings.load()
    database = db.connect(chosen.database_url)
    store = storage.make(chosen.store_url, chosen.s3_endpoint_url, chosen.s3_public_url)
    print(f"strop: {chosen.store_url} is this database's now: installation {Belonging(database, store).adopt().id}")
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
    "keygen": Verb("make the steward's signing key", keygen, keygen_arguments),
    "remeasure": Verb("ask again for receipts that were given up", remeasure, remeasure_arguments),
    "adopt": Verb("make the store this database's", adopt),
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
