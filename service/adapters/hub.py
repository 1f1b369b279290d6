"""The door to the model hub. `python -m service.adapters.hub OWNER/NAME REVISION KIND FOLDER`: a pinned model, once a host.

A process of its own, so that a cancel or the end of a worker need not wait for gigabytes; the next one goes on.
Of all that a repository holds only what diffusers or transformers load is taken: safetensors, no second precision.
"""

import fcntl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.domain.catalogue import BaseModelEntry, RewardModelEntry

PREFIX = "hub:"

WANTED = {
    "base": ["model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors"],
    "reward": ["*.json", "*.txt", "*.model", "model*.safetensors"],
}
SPARED = [
    "*.fp16.safetensors",
    "*.fp16-*.safetensors",
    "*.bf16.safetensors",
    "*.non_ema.safetensors",
    "*/openvino*",
    "*.msgpack",
]


@dataclass(frozen=True, slots=True)
class Fetch:
    """A model of the hub: where it belongs in this host's cache, and the command that brings it there."""

    repository: str
    folder: Path
    command: Sequence[str]

    @property
    def is_done(self) -> bool:
        """Whether a fetch into the folder came to its end: the mark beside it is made last."""
        return _mark(self.folder).exists()


def plan(entry: BaseModelEntry | RewardModelEntry, cache: Path) -> Fetch:
    """For an entry whose source begins with PREFIX. Raises ValueError with a sentence where no revision is pinned."""
    repository = entry.source.removeprefix(PREFIX)
    if not entry.revision:
        raise ValueError("it comes from the hub without a revision: pin a commit in the catalogue")
    folder = cache / "hub" / f"{repository.replace('/', '--')}@{entry.revision}"
    words = (repository, entry.revision, entry.kind, str(folder))
    return Fetch(repository, folder, (sys.executable, "-m", "service.adapters.hub", *words))


def fetch(repository: str, revision: str, kind: str, folder: Path) -> None:
    """Download unless it is there. The lock is the kernel's: it is free again when its holder dies, however it dies."""
    from huggingface_hub import snapshot_download

    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _mark(folder).exists():
            snapshot_download(
                repository, revision=revision, local_dir=folder, allow_patterns=WANTED[kind], ignore_patterns=SPARED
            )
            _mark(folder).touch()


def _mark(folder: Path) -> Path:
    return folder.with_name(folder.name + ".whole")


if __name__ == "__main__":
    fetch(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
