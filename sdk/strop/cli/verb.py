"""What a verb is, and how verbs show things: for people, or with --json for programs."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from strop.client import Client
from strop.reading import as_json

PIPE_WIDTH = 200
"""Where there is no terminal, nothing is cut short."""


class UsageError(Exception):
    """What was asked for cannot be asked for."""


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False, emoji=False)


@dataclass(frozen=True, slots=True)
class Out:
    """Where a verb shows what it found."""

    json: bool
    console: Console = field(default_factory=_console)

    def record(self, record: Any, *lines: str) -> None:
        """A record or a list of them as one line of JSON; for people, these lines."""
        if self.json:
            self.console.file.write(json.dumps(as_json(record), ensure_ascii=False) + "\n")
            self.console.file.flush()
        else:
            for line in lines:
                self.console.print(line, soft_wrap=True)

    def table(self, records: Sequence[Any], headings: Sequence[str], row: Callable[[Any], Sequence[Any]]) -> None:
        """Records as a table; with --json one a line."""
        if self.json:
            for record in records:
                self.record(record)
            return
        shown = Table(*headings, box=None, pad_edge=False, header_style="bold")
        for record in records:
            shown.add_row(*("–" if value is None else str(value) for value in row(record)))
        self.console.print(shown)


@dataclass(frozen=True, slots=True)
class Verb:
    """`arguments` adds the verb's own; `run` returns the exit code, None for 0."""

    help: str
    run: Callable[[Client, argparse.Namespace, Out], int | None]
    arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None
