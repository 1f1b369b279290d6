"""A folder as a store. A file is written aside, synced and renamed: readers see all of it or nothing, after a crash too."""

import itertools
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from service.domain.errors import Damaged, Unavailable

PIECE = 2**20
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,254}")
_ASIDE = ".part-"


class FolderStore:
    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).absolute()

    def put_file(self, key: str, path: Path) -> None:
        with _translated(key):
            copy_whole(path, self._path(key))

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        return begun(self._pieces(key, start, end))

    def _pieces(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        left = None if end is None else end - start
        with _translated(key), self._path(key).open("rb") as file:
            file.seek(start)
            while piece := file.read(PIECE if left is None else min(PIECE, left)):
                left = None if left is None else left - len(piece)
                yield piece

    def get_file(self, key: str, path: Path) -> None:
        with _translated(key):
            copy_whole(self._path(key), path)

    def head(self, key: str) -> int | None:
        path = self._path(key)
        return path.stat().st_size if path.is_file() else None

    def delete(self, key: str) -> None:
        with _translated(key):
            self._path(key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[str]:
        return (key for key, _ in self.ages(prefix))

    def ages(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        for path in self._files():
            key = path.relative_to(self._root).as_posix()
            if key.startswith(prefix) and not path.name.startswith(_ASIDE):
                with suppress(FileNotFoundError):  # deleted since it was listed
                    yield key, _written_at(path)

    def forget_half_done(self, before: datetime) -> int:
        gone = 0
        for path in self._files():
            if path.name.startswith(_ASIDE):
                with suppress(FileNotFoundError):
                    if _written_at(path) < before:
                        path.unlink()
                        gone += 1
        return gone

    def _files(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self._root):
            yield from (Path(folder) / name for name in names)

    def public_url(self, key: str, seconds: int) -> str | None:
        return None

    def _path(self, key: str) -> Path:
        """Keys are made by us, of plain parts; anything else is a fault of ours, and leads nowhere."""
        parts = key.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            raise ValueError(f"{key!r} is no key of this store")
        return self._root.joinpath(*parts)


def _written_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def copy_whole(source: Path, target: Path) -> None:
    """Copy so that `target` is there whole or not at all, whatever happens to the machine."""
    with source.open("rb") as reading:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside_of(target) as aside, aside.open("xb") as writing:
            shutil.copyfileobj(reading, writing, PIECE)


@contextmanager
def aside_of(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends well, and is gone when it does not."""
    aside = target.with_name(f"{_ASIDE}{secrets.token_hex(8)}")
    try:
        yield aside
        _sync(aside)
        aside.replace(target)
        _sync(target.parent)  # the rename itself must reach the disk
    finally:
        aside.unlink(missing_ok=True)


def begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces, the first of them already read: what is missing or away is told at once, not half-way."""
    return itertools.chain((next(pieces, b""),), pieces)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Damaged(f"{key} is not in the store") from error
    except OSError as error:
        raise Unavailable(f"the store does not take or give {key}: {error.strerror}") from error
