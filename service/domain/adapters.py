"""Trained adapters by name: `red-things` is the newest version, `red-things@3` exactly that one, and `red-things@stable` the
one that the alias `stable` points to. An alias begins with a letter, so it is never taken for a version's number.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from service.domain.artifacts import Artifact
from service.domain.ids import JobId, TenantId
from service.domain.recipes import NAME

ALIAS = r"^[a-z][a-z0-9-]{0,31}$"
MAX_VERSION = 999_999_999
MAX_REFERENCE = 64 + 1 + 32
"""Characters of name@alias."""
SERVED_RANK = 32
"""Of what an inference endpoint wears at once, unless its operator gave its slots another rank."""

_NAME = NAME.strip("^$")
_REFERENCE = re.compile(
    rf"(?P<name>{_NAME}|job_[0-9a-z]{{26}})(?:@(?:(?P<version>[1-9][0-9]{{0,8}})|(?P<alias>{ALIAS.strip('^$')})))?"
)
"""A name that a caller chose, or a job's id, by which an adapter without one goes."""

Which: TypeAlias = int | str | None
"""Of a name's versions: the one of this number; the one that this alias points to; None: the newest."""


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """One version of an adapter: the file that holds it, the job that made it, the manifest that says how.

    `start`: the adapter, name@version, that its training began with. `aliases`: those that point to this version.
    `base_revision`: of the base model, as the catalogue had it when the job was posted; "" where it pinned none.
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
    aliases: tuple[str, ...] = ()
    base_revision: str = ""

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that moves from version to version. With `needs_receipt` it moves only to one whose receipt passed."""

    tenant: TenantId
    name: str
    alias: str
    version: int
    needs_receipt: bool
    updated_at: datetime

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.alias}"


class AliasRequest(BaseModel):
    """The body of `PUT /models/{name}/aliases/{alias}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1, le=MAX_VERSION, description="The adapter's version that the alias is to point to.")
    needs_receipt: bool | None = Field(
        default=None,
        description="True: the alias moves only to versions whose receipt passed; null: as it was, and false for a new one.",
    )


def parse_reference(text: str) -> tuple[str, Which] | None:
    """`name` → (name, None), `name@3` → (name, 3), `name@stable` → (name, "stable"); None where it is no adapter's name."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    version = match["version"]
    return match["name"], int(version) if version else match["alias"]
