"""Files that appear whole or not at all: written aside, synced, renamed, and told of only then."""

import hashlib
import os
from pathlib import Path

from worker.pipe import FileMade


def write_whole(folder: Path, name: str, kind: str, step: int, data: bytes) -> FileMade:
    """Write `data` as `name`. After a crash at any point the file is whole, or it is not there. Raises OSError."""
    aside = folder / f".{name}.part"
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(folder / name)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    return FileMade(name, kind, step, len(data), hashlib.sha256(data).hexdigest())


def _sync_folder(folder: Path) -> None:
    """The rename itself must reach the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
