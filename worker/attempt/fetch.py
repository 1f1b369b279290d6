"""`python -m worker.attempt.fetch OWNER/NAME REVISION KIND FOLDER`: a pinned model of the hub, once a host.

A process of its own, so that a cancel or the end of the worker need not wait for gigabytes; the next one goes on.
Of all that a repository holds only what diffusers or transformers load is taken: safetensors, no second precision.
"""

import fcntl
import sys
from pathlib import Path

WANTED = {
    "base": ["model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors"],
    "reward": ["*.json", "*.txt", "*.model", "model*.safetensors"],
}
SPARED = ["*.fp16.safetensors", "*.bf16.safetensors", "*.non_ema.safetensors", "*/openvino*", "*.msgpack"]


def is_whole(folder: Path) -> bool:
    """Whether a fetch into this folder came to its end: the mark beside it is made last."""
    return _mark(folder).exists()


def fetch(repository: str, revision: str, kind: str, folder: Path) -> None:
    """Download unless it is there. The lock is the kernel's: it is free again when its holder dies, however it dies."""
    from huggingface_hub import snapshot_download

    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_whole(folder):
            snapshot_download(
                repository, revision=revision, local_dir=folder, allow_patterns=WANTED[kind], ignore_patterns=SPARED
            )
            _mark(folder).touch()


def _mark(folder: Path) -> Path:
    return folder.with_name(folder.name + ".whole")


if __name__ == "__main__":
    fetch(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
