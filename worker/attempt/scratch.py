"""A worker's scratch folder, and what dead workers left: a lock that the kernel frees at their death tells which."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_LOCK = "owner.lock"


class Scratch:
    """A folder of this worker's own below `root`, held by a lock until `close` or the end of the process."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="worker-", dir=root))
        self._lock = _try_lock(self._folder)
        for folder in root.glob("worker-*"):
            _remove_if_left(folder)

    @contextmanager
    def attempt(self, name: str) -> Iterator[Path]:
        """A fresh folder for one attempt, removed at the end."""
        folder = self._folder / name
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def _try_lock(folder: Path) -> IO[str] | None:
    """None if a living worker holds it, or it has just gone."""
    lock = None
    try:
        lock = (folder / _LOCK).open("a")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if lock is not None:
            lock.close()
        return None
    return lock


def _remove_if_left(folder: Path) -> None:
    if not (folder / _LOCK).exists():
        return  # its owner is about to lock it
    lock = _try_lock(folder)
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
