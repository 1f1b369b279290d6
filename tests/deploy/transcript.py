"""Commands run by bash and what they answered, as a page of docs."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LONGEST = 300
SECONDS = 2400


@dataclass
class Transcript:
    """`say` runs a command in `folder` and writes it down; `note` writes a sentence between; `keep` is for all that follow."""

    folder: Path
    environment: Mapping[str, str]
    parts: list[str] = field(default_factory=list)
    kept: str = ""

    def note(self, text: str) -> None:
        self.parts.append(text)

    def keep(self, definition: str) -> None:
        """A variable or function of the shell."""
        self.kept += definition + "\n"
        self.parts.append(f"```console\n$ {definition}\n```")

    def ask(self, command: str) -> str:
        """As `say`, but of this the page says nothing."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.kept + command],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            check=True, timeout=60,
        ).stdout  # fmt: skip

    def say(self, command: str, *, shown: Callable[[str], str] = str.strip, may_fail: bool = False) -> str:
        """Its whole answer, of which `shown` is written down. Ends the run where the command fails."""
        sys.stderr.write(f"$ {command}\n")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.kept + command],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        answer = "\n".join(_cut(line.rstrip()) for line in shown(done.stdout).splitlines())
        sys.stderr.write(answer + "\n")
        if done.returncode and not may_fail:
            sys.exit(f"strop: it failed ({done.returncode}):\n{done.stdout[-6000:]}")
        self.parts.append("\n".join(filter(None, ("```console", f"$ {command}", answer, "```"))))
        return done.stdout

    def write(self, page: Path) -> None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("\n\n".join(self.parts) + "\n", encoding="utf-8")


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else line[:LONGEST] + " …"


def last(count: int) -> Callable[[str], str]:
    return lambda output: "\n".join(output.strip().splitlines()[-count:])
