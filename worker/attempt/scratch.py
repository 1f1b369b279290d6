"""A worker's scratch folder, and what dead workers left: a lock that the kernel frees at their death tells which."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_LOCK = "owner.lock"
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


class Scratch:
    """A folder of this worker's own below `root`, held by a lock until `close` or the end of the process."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder, self._lock = _take(root)

    def check(self) -> None:
        """Raises OSError unless an attempt could write here now. A folder that somebody removed is made anew."""
        if not self._folder.is_dir():
            self._lock.close()
            self._folder, self._lock = _take(self._root)
        probe = self._folder / "probe"
        try:
            probe.mkdir()
            (probe / "written").write_bytes(b"1")
        finally:
            shutil.rmtree(probe, ignore_errors=True)

    def is_at_fault(self, error: OSError) -> bool:
        """Whether it befell this folder's files. A write into a full disk names none, and an attempt's own files are all here."""
        if error.filename is None:
            return error.errno in _DISK
        return Path(os.fsdecode(error.filename)).absolute().is_relative_to(self._root.absolute())

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
        self._lock.close()


def _take(root: Path) -> tuple[Path, IO[str]]:
    """A new folder and the lock that is held on it; what dead workers left goes."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / _LOCK).open("a") as gate:  # one at a time: nobody sees a folder whose owner is about to lock it
        fcntl.flock(gate, fcntl.LOCK_EX)
        for folder in root.glob("worker-*"):
            _remove_if_left(folder)
        folder = Path(tempfile.mkdtemp(prefix="worker-", dir=root))
        return folder, _lock(folder)


def _lock(folder: Path) -> IO[str]:
    """Raises BlockingIOError where a living worker holds it."""
    lock = (folder / _LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        lock.close()
        raise
    return lock


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError), _lock(folder):
        shutil.rmtree(folder, ignore_errors=True)
