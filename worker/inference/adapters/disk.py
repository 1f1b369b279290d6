"""The adapter cache's level on disk: a folder that several processes of a host may share, and that may vanish at any time.

    adapters/TENANT/SHA256.safetensors    an adapter's file
    adapters/TENANT/SHA256.json           the manifest that came with it

Files are written aside, synced and renamed, so a reader finds a whole one or none; what is read is checked against its
digest by the caller, who drops what is torn or flipped. A file that another process removed is not there, and that is all.
Least recently used is oldest in mtime, which a reader renews. Trouble with the disk is never trouble for a request.
"""

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

ADAPTER, MANIFEST = ".safetensors", ".json"
ASIDE = ".part-"
ABANDONED_SECONDS = 3600.0
"""A file aside that is older was left by a process that died."""

log = logging.getLogger(__name__)


class _File(NamedTuple):
    used_at: float
    bytes: int
    path: Path


class DiskLevel:
    """`limit` in bytes, of the whole folder. Every method is safe from any thread and beside any other process."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit

    def read(self, tenant: str, sha256: str, kind: str) -> bytearray | None:
        """All bytes of a file, unchecked; None where there is none to be had."""
        path = self._path(tenant, sha256, kind)
        try:
            with path.open("rb") as file:
                data = bytearray(os.fstat(file.fileno()).st_size)
                del data[file.readinto(data) :]
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the adapter cache cannot read %s: %s", path, error)
            return None
        return data

    def write(self, tenant: str, sha256: str, kind: str, data: bytes | bytearray) -> None:
        """Keep a file, and make room for it. A disk that does not take it is a line in the log."""
        if len(data) > self._limit:
            return
        path = self._path(tenant, sha256, kind)
        aside = path.with_name(f"{ASIDE}{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            log.warning("the adapter cache cannot keep %s: %s", path, error)
            _remove(aside)
        self._trim()

    def drop(self, sha256: str) -> None:
        """Of every tenant."""
        for file in self._files():
            if file.path.stem == sha256:
                _remove(file.path)

    def adapters(self) -> set[tuple[str, str]]:
        """(tenant, SHA-256) of the adapters that are here."""
        here = (file.path for file in self._files() if file.path.suffix == ADAPTER)
        return {(unquote(path.parent.name), path.stem) for path in here}

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self._files())

    def _trim(self) -> None:
        files = sorted(self._files())
        too_much = sum(file.bytes for file in files) - self._limit
        for file in files:
            if file.path.name.startswith(ASIDE):
                if time.time() - file.used_at < ABANDONED_SECONDS:
                    continue
            elif too_much <= 0:
                continue
            _remove(file.path)
            too_much -= file.bytes

    def _files(self) -> Iterator[_File]:
        with suppress(OSError):
            for folder in list(os.scandir(self._folder)):
                yield from _files_in(folder)

    def _path(self, tenant: str, sha256: str, kind: str) -> Path:
        return self._folder / quote(tenant, safe="").replace(".", "%2E") / f"{sha256}{kind}"


def _files_in(folder: "os.DirEntry[str]") -> Iterator[_File]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        with suppress(OSError):  # removed since it was listed
            told = entry.stat(follow_symlinks=False)
            yield _File(told.st_mtime, told.st_size, Path(entry.path))


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
