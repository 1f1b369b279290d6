"""The door to the model hub. `python -m service.adapters.hub OWNER/NAME REVISION KIND FOLDER`: a pinned model, once a host.

A process of its own, so that a cancel or the end of a worker need not wait for gigabytes; the next one goes on.
Of all that a repository holds only what diffusers or transformers load is taken: the folders that its model_index.json names,
safetensors, no second precision. A repository that has no such weights for a part is refused, not marked as fetched.
"""

import fcntl
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from service.domain.catalogue import BaseModelEntry, RewardModelEntry

PREFIX = "hub:"

LACKING = os.EX_DATAERR
"""Exit code of a fetch of what the hub has not, or not as it is loaded: another try, or another worker, finds the same."""

INDEX = "model_index.json"
LOADED = ("*.json", "*.txt", "*.model", "*.safetensors")
"""Of each folder of a pipeline. Folders that it does not name hold copies for other programs: of SD3.5 16 GB."""
REWARD = ("*.json", "*.txt", "*.model", "model*.safetensors")
NEVER_LOADED = frozenset({"safety_checker"})
"""Parts that no family is given, whatever a repository's index names."""
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
    """Download unless it is there. The lock is the kernel's: it is free again when its holder dies, however it dies.

    Raises SystemExit, with a sentence, where the repository has not what is loaded.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _mark(folder).exists():
            if kind == "base":
                _take(repository, revision, folder, [INDEX])
                parts = _parts(folder)
                _take(repository, revision, folder, [f"{part}/{name}" for part in parts for name in LOADED])
                models = [folder / part for part in parts if (folder / part / "config.json").exists()]
            else:
                _take(repository, revision, folder, REWARD)
                models = [folder]
            lacking = [model.name for model in models if not any(model.glob("*.safetensors"))]
            if lacking:
                where = f"in {', '.join(lacking)}" if kind == "base" else "at its top"
                sys.exit(f"it has no .safetensors in full precision {where}: choose a repository that has them")
            _mark(folder).touch()


def _take(repository: str, revision: str, folder: Path, names: Sequence[str]) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        snapshot_download(
            repository, revision=revision, local_dir=folder, allow_patterns=list(names), ignore_patterns=SPARED
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        if error.response.status_code != HTTPStatus.NOT_FOUND:  # 401, 403: a token may help, on this host or another
            raise
        sys.exit("the hub has no such repository or revision")


def _parts(folder: Path) -> list[str]:
    """The folders of a pipeline that are loaded; one without a class is a part that it has not."""
    path = folder / INDEX
    if not path.exists():
        sys.exit(f"it has no {INDEX}, and so is no pipeline in diffusers' folder format")
    index = json.loads(path.read_text(encoding="utf-8"))
    named = [name for name, value in index.items() if isinstance(value, list) and value and value[0] is not None]
    return [name for name in named if name not in NEVER_LOADED]


def _mark(folder: Path) -> Path:
    return folder.with_name(folder.name + ".whole")


if __name__ == "__main__":
    try:
        fetch(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    except SystemExit as refusal:
        sys.stderr.write(f"{refusal.code}\n")
        sys.exit(LACKING)
