"""Uploaded files: what kinds there are. How each is read and checked stands in `uploads`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.domain.ids import FileId, TenantId

MAX_FILE_BYTES = 64 * 2**20


class FileKind(StrEnum):
    TEXT = "text"
    """One prompt a line."""
    JSONL = "jsonl"
    """One object a line, with the member `prompt`."""
    IMAGES = "images"
    """A zip archive of pictures with their captions."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that was checked whole before it was stored. `prompts` counts its prompts or captions."""

    id: FileId
    tenant: TenantId
    filename: str
    kind: FileKind
    bytes: int
    sha256: str
    key: str
    prompts: int
    created_at: datetime
