"""Uploaded files."""

from typing import Any

from sqlalchemy import Connection, Row, insert, select

from service.adapters.db.tables import files
from service.adapters.db.types import Now
from service.domain.files import File, FileKind
from service.domain.ids import FileId, TenantId


class FileRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, tenant: TenantId, file: FileId) -> File | None:
        theirs = select(files).where(files.c.tenant_id == tenant, files.c.id == file)
        row = self._connection.execute(theirs).one_or_none()
        return _file(row) if row else None


class FileWrites(FileRows):
    def add(self, file: File) -> File:
        values: dict[str, Any] = {
            "id": file.id, "tenant_id": file.tenant, "filename": file.filename, "kind": file.kind,
            "bytes": file.bytes, "sha256": file.sha256, "key": file.key, "prompts": file.prompts,
        }  # fmt: skip
        return _file(self._connection.execute(insert(files).values(created_at=Now(), **values).returning(files)).one())


def _file(row: Row[Any]) -> File:
    return File(
        FileId(row.id), TenantId(row.tenant_id), row.filename, FileKind(row.kind), row.bytes, row.sha256, row.key,
        row.prompts, row.created_at,
    )  # fmt: skip
