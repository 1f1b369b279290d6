"""Stored files and the manifest that lists them. The database row makes a file exist; an object without one is an orphan."""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from service.domain.ids import Fence, JobId


class Kind(StrEnum):
    ADAPTER = "adapter"
    EXPORT = "export"
    CHECKPOINT = "checkpoint"
    SAMPLE = "sample"
    LOG = "log"
    MANIFEST = "manifest"
    RECEIPT = "receipt"


OF_THE_JOB = frozenset({Kind.CHECKPOINT, Kind.SAMPLE, Kind.LOG})
"""What stays with a job whose adapter is deleted; files of the other kinds are the adapter's."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of a job: `key` in the store lies under jobs/<id>/<fence>/; `name` is the last part of it."""

    job: JobId
    fence: Fence
    step: int
    kind: Kind
    name: str
    key: str
    bytes: int
    sha256: str
    created_at: datetime

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES.get(self.name.rsplit(".", 1)[-1], "application/octet-stream")


MEDIA_TYPES = {"png": "image/png", "json": "application/json", "txt": "text/plain; charset=utf-8"}


class ManifestFile(BaseModel):
    """One line of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Kind
    key: str
    step: int
    fence: int
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What an adapter is and where it came from. Holds no version: that is given in the finishing transaction.

    `files` are kept as long as the manifest. `checkpoints` says what the digest of the training's state was at each that was
    left at the end; their files are removed some days later, and nothing here rests on them.

    `start_adapter`: the adapter, name@version, that the training began with; None: with nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    job: str
    base_model: str
    base_revision: str
    base_licence: str
    family: str
    method: dict[str, Any]
    reward: dict[str, Any]
    lora: dict[str, Any]
    seed: int
    steps: int
    prompts_sha256: str
    prompt_count: int
    images_sha256: str | None = None
    image_count: int = 0
    start_adapter: str | None = None
    start_adapter_sha256: str | None = None
    code_version: str
    licence: str
    training_nfe: int
    training_fe: float
    files: tuple[ManifestFile, ...]
    checkpoints: tuple[ManifestFile, ...] = ()

    def canonical(self) -> bytes:
        """The bytes whose SHA-256 is the manifest's: sorted keys, no spare blanks."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()
