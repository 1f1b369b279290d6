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
    """`say` runs a command in `folder` and writes it down; `note` writes a sentence between."""

    folder: Path
    environment: Mapping[str, str]
    parts: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.parts.append(text)

    def say(self, command: str, *, shown: Callable[[str], str] = str.strip, may_fail: bool = False) -> str:
        """Its whole answer, of which `shown` is written down. Ends the run where the command fails."""
        sys.stderr.write(f"$ {command}\n")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        kept = "\n".join(_cut(line.rstrip()) for line in shown(done.stdout).splitlines())
        sys.stderr.write(kept + "\n")
        if done.returncode and not may_fail:
            sys.exit(f"strop: it failed ({done.returncode}):\n{done.stdout[-6000:]}")
        self.parts.append(f"```console\n$ {command}\n{kept}\n```")
        return done.stdout

    def write(self, page: Path) -> None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("\n\n".join(self.parts) + "\n", encoding="utf-8")


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else line[:LONGEST] + " …"


def last(count: int) -> Callable[[str], str]:
    return lambda output: "\n".join(output.strip().splitlines()[-count:])
