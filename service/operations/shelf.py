"""What a request may name beside the catalogue: the tenant's uploaded prompts and pictures, and its adapters."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Never, Protocol

from service.domain import archives
from service.domain.adapters import parse_reference
from service.domain.errors import FieldError, InvalidRequest
from service.domain.files import File, FileKind
from service.domain.ids import FileId
from service.domain.outside import Store
from service.domain.ports import Database
from service.domain.principals import Principal
from service.domain.recipes import Recipe
from service.operations import prompt_files, stowing


@dataclass(frozen=True, slots=True)
class Pictures:
    """An archive of pictures: one caption for each, in their order."""

    sha256: str
    captions: tuple[str, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """Each caption once, in the order of their first pictures."""
        return tuple(dict.fromkeys(self.captions))


@dataclass(frozen=True, slots=True)
class Beginning:
    """An adapter to begin with: its exact version, its file's digest, the recipe of the job that made it."""

    reference: str
    sha256: str
    recipe: Recipe


class Shelf(Protocol):
    """Raises InvalidRequest `unknown_file`, `wrong_file_kind` or `unknown_adapter`."""

    def prompts(self, file_id: str) -> tuple[str, ...]: ...

    def pictures(self, file_id: str) -> Pictures: ...

    def adapter(self, reference: str) -> Beginning: ...


class TenantShelf:
    def __init__(self, database: Database, store: Store, principal: Principal) -> None:
        self._database, self._store, self._tenant = database, store, principal.tenant

    def prompts(self, file_id: str) -> tuple[str, ...]:
        file = self._file("prompts_file", file_id)
        if file.kind is FileKind.IMAGES:
            remedy = "name a file of prompts: text with one a line, or JSONL; pictures are named by images_file"
            _refuse("prompts_file", f"{file_id} holds pictures", remedy, "wrong_file_kind")
        return prompt_files.read(self._store, file)

    def pictures(self, file_id: str) -> Pictures:
        file = self._file("images_file", file_id)
        if file.kind is not FileKind.IMAGES:
            remedy = "upload a zip archive of pictures with captions; a file of prompts is named by prompts_file"
            _refuse("images_file", f"{file_id} holds prompts and no pictures", remedy, "wrong_file_kind")
        with tempfile.TemporaryDirectory(prefix="strop-pictures-") as folder:
            archive = Path(folder) / "archive"
            stowing.fetch(self._store, file.key, archive, file.sha256)
            return Pictures(file.sha256, tuple(archives.read_captions(archive, checked=True).values()))

    def adapter(self, reference: str) -> Beginning:
        named = parse_reference(reference)
        with self._database.read() as unit:
            found = unit.adapters.find(self._tenant, *named) if named else None
            made_by = unit.jobs.get(self._tenant, found.job) if found else None
        if found is None or made_by is None:
            remedy = "use the name, or name@version, of one of your adapters: GET /models lists them"
            _refuse("start_adapter", f"there is no adapter {reference!r}", remedy, "unknown_adapter")
        return Beginning(found.reference, found.file.sha256, made_by.recipe)

    def _file(self, path: str, file_id: str) -> File:
        with self._database.read() as unit:
            file = unit.files.get(self._tenant, FileId(file_id))
        if file is None:
            remedy = "upload it first: POST /files gives the id"
            _refuse(path, f"there is no file {file_id}", remedy, "unknown_file")
        return file


def _refuse(path: str, message: str, remedy: str, code: str) -> Never:
    raise InvalidRequest(message, errors=(FieldError(path, message, remedy),), code=code)
