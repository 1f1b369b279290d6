"""Uploads: bounded, checked whole, stored, read back, and only then given a row. A wrong file leaves nothing."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from service.domain import archives, uploads
from service.domain.errors import TooLarge
from service.domain.files import MAX_FILE_BYTES, File, FileKind
from service.domain.ids import FileId, new_file_id
from service.domain.outside import Store
from service.domain.ports import Database
from service.domain.principals import Principal
from service.operations import stowing
from service.operations.known import known_file_form, no_file
from service.operations.once import keyed, known, once

MAX_FILENAME = 255


class Files:
    def __init__(self, database: Database, store: Store) -> None:
        self._database, self._store = database, store

    def upload(
        self, principal: Principal, filename: str, source: BinaryIO, key: str | None = None
    ) -> tuple[File, bool]:
        """Take a text, JSONL or zip file, as its content says; with it, whether an earlier upload with the same key made it.

        A key stands for the name and the content: the form around them is another each time that it is written. Raises
        TooLarge, or InvalidRequest with place and remedy.
        """
        with tempfile.TemporaryDirectory(prefix="strop-upload-") as folder:
            path = Path(folder) / "file"
            _copy(source, path)
            kind, prompts = _check(path, filename)
            size, sha256 = stowing.digest_of(path)
            request = keyed(key, "/files", f"{filename}\n{sha256}".encode(errors="replace"))
            if (before := known(self._database, principal, request)) is not None:
                return self.get(principal, FileId(before)), True
            file_id = new_file_id()
            place = f"files/{file_id}"
            stowing.stow(self._store, place, path, sha256)
        shown = _shown(filename) or file_id
        file = File(file_id, principal.tenant, shown, kind, size, sha256, place, prompts, datetime.now(UTC))
        made, replayed = once(self._database, principal, request, file_id, lambda unit: unit.files.add(file))
        if replayed:  # a rival with the same key was faster
            self._store.delete(place)
        return self.get(principal, FileId(made)), replayed

    def get(self, principal: Principal, file_id: FileId) -> File:
        with self._database.read() as unit:
            file = unit.files.get(principal.tenant, known_file_form(file_id))
        if file is None:
            raise no_file(file_id)
        return file


def _copy(source: BinaryIO, path: Path) -> None:
    size = 0
    with path.open("wb") as file:
        while piece := source.read(stowing.PIECE):
            size += len(piece)
            if size > MAX_FILE_BYTES:
                raise TooLarge(f"a file may have {MAX_FILE_BYTES // 2**20} MiB; split it")
            file.write(piece)


def _check(path: Path, filename: str) -> tuple[FileKind, int]:
    """(kind, how many prompts or captions). The name claims nothing, but where it contradicts the content, that is refused."""
    with path.open("rb") as file:
        head = file.read(len(archives.MAGIC))
    if head == archives.MAGIC:
        uploads.check_name(filename, FileKind.IMAGES)
        return FileKind.IMAGES, len(archives.read_captions(path))
    content = path.read_bytes()
    kind = uploads.detect(content)
    uploads.check_name(filename, kind)
    return kind, len(uploads.read_prompts(content, kind))


def _shown(filename: str) -> str:
    """A name to show: its last part, without what is not printable. Nothing is ever opened by it."""
    last = filename.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(character for character in last if character.isprintable())[:MAX_FILENAME]
