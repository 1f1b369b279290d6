"""Trained adapters by name and version: `red-things` is the newest version, `red-things@3` exactly that one."""

import re
from dataclasses import dataclass
from datetime import datetime

from service.domain.artifacts import Artifact
from service.domain.ids import JobId, TenantId
from service.domain.recipes import NAME

_NAME = NAME.strip("^$")
_REFERENCE = re.compile(rf"(?P<name>{_NAME}|job_[0-9a-z]{{26}})(?:@(?P<version>[1-9][0-9]{{0,8}}))?")
"""A name that a caller chose, or a job's id, by which an adapter without one goes."""


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """One version of an adapter: the file that holds it, the job that made it, the manifest that says how.

    `start`: the adapter, name@version, that its training began with.
    """

    tenant: TenantId
    name: str
    version: int
    base_model: str
    job: JobId
    file: Artifact
    manifest_key: str
    manifest_sha256: str
    created_at: datetime
    start: str | None = None

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"


def parse_reference(text: str) -> tuple[str, int | None] | None:
    """`name` → (name, None), `name@3` → (name, 3); None when it cannot be an adapter's name."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    version = match["version"]
    return match["name"], int(version) if version else None
