"""Strop's processes as a row of the matrix starts, stops, freezes and kills them; and the children that they have."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_SCRATCH = re.compile(r"/scratch/worker-[^/]+/(job_\w+)-(\d+)")


class Program:
    """Started at once, in a session of its own; its output goes to `log`."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=dict(environment), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def has_said(self, words: str) -> bool:
        return words in self.log.read_text(errors="replace")

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait(10)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def terminate(self, seconds: float) -> int:
        """SIGTERM; the exit code. Raises TimeoutExpired."""
        self._signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def wait(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def _signal(self, number: signal.Signals) -> None:
        if self.lives:
            self._process.send_signal(number)


@dataclass(frozen=True)
class Child:
    """A process that works for an attempt, or was started by one that does."""

    pid: int
    job: str
    fence: int

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def children_below(folder: Path) -> list[Child]:
    """Those whose working folder is an attempt's scratch folder below `folder`, removed or not."""
    return list(_children(str(folder)))


def _children(folder: str) -> Iterator[Child]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            place = process.cwd()
            if place.startswith(folder) and (found := _SCRATCH.search(place)) and process.status() != "zombie":
                yield Child(process.pid, found[1], int(found[2]))
