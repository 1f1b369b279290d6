"""What pins a model that lies in a folder: one digest over all of its weights, `sha256:…` in the catalogue's `revision`.

It is the SHA-256 of the lines that `sha256sum` prints for the folder's safetensors files, by their paths in sorted order.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from service.domain.catalogue import BaseModelEntry, RewardModelEntry

PREFIX = "sha256:"
PIECE = 2**20
GoOn = Callable[[], None]
"""Raises where the work is of no use any more."""


def digest(folder: Path, go_on: GoOn = lambda: None) -> str:
    """`sha256:…` of a folder's weights. Raises ValueError where it has none, and what `go_on` raises, asked for each MiB."""
    lines = []
    for path in sorted(folder.rglob("*.safetensors")):
        total = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                total.update(piece)
                go_on()
        lines.append(f"{total.hexdigest()}  {path.relative_to(folder).as_posix()}\n")
    if not lines:
        raise ValueError("it holds no safetensors files")
    return PREFIX + hashlib.sha256("".join(lines).encode()).hexdigest()


def check(entry: BaseModelEntry | RewardModelEntry, folder: Path, go_on: GoOn = lambda: None) -> None:
    """Raises ValueError with a sentence where the entry pins weights and the folder has others; `go_on` as in `digest`."""
    if entry.revision.startswith(PREFIX) and (found := digest(folder, go_on)) != entry.revision:
        raise ValueError(
            f"its weights are not those that the catalogue pins ({found[:19]}…, not {entry.revision[:19]}…): "
            "put the right ones back, or pin these and post the job again"
        )
