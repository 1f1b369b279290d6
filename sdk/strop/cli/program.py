"""`strop NOUN VERB`: the table of nouns, the global flags, errors and exit codes.

Exit codes: 0 done · 1 refused or failed · 2 not understood · 130 Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from strop.cli import choices, files, images, jobs, models, receipts
from strop.cli.verb import Out, UsageError, Verb
from strop.client import AGENT, DEFAULT_URL, Client
from strop.errors import StropError, Unauthenticated, Unavailable

NOUNS: Mapping[str, tuple[str, Verb | Mapping[str, Verb]]] = {
    "jobs": ("sharpening jobs", jobs.VERBS),
    "files": ("prompts that jobs name", files.VERBS),
    "images": ("pictures from the inference endpoint", images.VERBS),
    "models": ("base models and adapters", models.VERBS),
    "receipts": ("what adapters do beside their base models, signed", receipts.VERBS),
    "rewards": (choices.REWARDS.help, choices.REWARDS),
    "methods": (choices.METHODS.help, choices.METHODS),
}


def main(words: Sequence[str] | None = None) -> int:
    given = parser().parse_args(words)
    try:
        with Client(given.url, given.key) as client:
            return given.run(client, given, Out(given.json)) or 0
    except UsageError as error:
        return _end(2, str(error))
    except StropError as error:
        return _end(1, *_lines(error))
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a file, or TimeoutError
        return _end(1, str(error))
    except KeyboardInterrupt as stop:
        return _end(130, str(stop) or "stopped")


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="strop", description="Client of Strop, which sharpens text-to-image models.")
    whole.add_argument("--version", action="version", version=AGENT.replace("-python/", " "))
    _global_flags(whole, None, default_json=False)
    nouns = whole.add_subparsers(metavar="NOUN", required=True)
    for name, (help, verbs) in NOUNS.items():
        noun = nouns.add_parser(name, help=help, description=help)
        if isinstance(verbs, Verb):
            _add(noun, verbs)
            continue
        each = noun.add_subparsers(metavar="VERB", required=True)
        for verb_name, verb in verbs.items():
            _add(each.add_parser(verb_name, help=verb.help, description=verb.help), verb)
    return whole


def _add(to: argparse.ArgumentParser, verb: Verb) -> None:
    _global_flags(to, argparse.SUPPRESS, default_json=argparse.SUPPRESS)
    verb.arguments(to)
    to.set_defaults(run=verb.run)


def _global_flags(to: argparse.ArgumentParser, default: str | None, default_json: bool | str) -> None:
    """Taken before the noun and after the verb; where they stand after it, they count."""
    to.add_argument("--url", default=default, help=f"the gateway (default: STROP_URL, else {DEFAULT_URL})")
    to.add_argument("--key", default=default, help="the API key (default: STROP_API_KEY)")
    to.add_argument("--json", action="store_true", default=default_json, help="one line of JSON a record")


def _lines(error: StropError) -> list[str]:
    words = ", ".join([error.code, *([f"request {error.request_id}"] if error.request_id else [])])
    fields = [f"  {each.path or 'the request'}: {each.message}; {each.remedy}" for each in error.errors]
    remedies = []
    if isinstance(error, Unauthenticated):
        remedies = ["  give --key, or set STROP_API_KEY"]
    elif isinstance(error, Unavailable) and error.status is None:
        remedies = ["  is Strop running there? --url or STROP_URL names another gateway"]
    return [f"{error.message} ({words})", *fields, *remedies]


def _end(code: int, *lines: str) -> int:
    sys.stderr.write("\n".join(("strop: " + line if place == 0 else line) for place, line in enumerate(lines)) + "\n")
    return code
