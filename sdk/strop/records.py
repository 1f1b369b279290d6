"""What the service answers, as frozen records by the wire's names; REST and gRPC give the same ones.

A record is read leniently: a field that this version does not know is left out, a state that it does not know is
`State.UNKNOWN`, so that a newer service does not break an older client.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """One that this version of the client has no name for."""

    @classmethod
    def _missing_(cls, value: object) -> "State":
        return cls.UNKNOWN

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a stable code and a sentence that a person can act on."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. `training_nfe`: denoiser forwards; `training_fe`: forward-equivalents, gradients included."""

    step: int = 0
    steps: int = 0
    reward: float | None = None
    training_nfe: int = 0
    training_fe: float = 0.0
    seconds_left: float | None = None
    training_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a replay from a stored checkpoint found: it holds where the state at `to_step` has the digest it had."""

    job: str
    from_step: int
    to_step: int
    expected_sha256: str
    found_sha256: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a job by one worker; `cause` says how it ended."""

    fence: int
    worker: str = ""
    device: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job. `recipe` is what was posted, every default and name resolved; `adapter` is name@version.

    `kind`: sharpening, or certificate, which has a `certificate` when it succeeded; `certificates` is what this job's own
    found. `parent_id`: what it was cloned from, or certifies. `stop_reason`: completed, max_seconds, max_nfe, guard, …
    `wait_reason`: of a queued job that no worker can take, what it needs that none offers.
    """

    id: str
    state: State
    kind: str = "sharpening"
    parent_id: str | None = None
    created_at: datetime | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    adapter: str | None = None
    error: JobError | None = None
    stop_reason: str | None = None
    wait_reason: str | None = None
    certificate: Certificate | None = None
    certificates: tuple[Certificate, ...] = ()
    progress: Progress = field(default_factory=Progress)
    attempts: tuple[Attempt, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job; numbered from 1. Where a step was run twice, the highest fence counts."""

    number: int
    type: str
    fence: int = 0
    step: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored file of a job; `url` works without the key until `url_expires_at`."""

    kind: str
    name: str
    bytes: int
    sha256: str
    url: str = field(repr=False)
    fence: int = 0
    step: int = 0
    media_type: str = ""
    created_at: datetime | None = None
    url_expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded file; `prompts` counts the prompts or captions in it."""

    id: str
    filename: str
    kind: str
    bytes: int
    sha256: str
    prompts: int = 0
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """Where an alias of an adapter points; `name` is adapter@alias. `needs_receipt`: only to versions whose receipt passed."""

    name: str
    alias: str
    version: int
    needs_receipt: bool = False
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """All that goes by one adapter's name; versions the newest first."""

    name: str
    versions: tuple[int, ...] = ()
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiptStage:
    """How far the receipt of an adapter's version is: pending, signed (then it has a verdict) or given_up.

    `error`: why the last try brought none. The whole receipt: `client.receipts.get`.
    """

    stage: str
    verdict: str | None = None
    sha256: str | None = None
    key_id: str | None = None
    signed_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A base model, or an adapter's version (name@version), which `images.generate` draws with.

    `start_adapter`: the adapter that its training began with. `aliases`: those that point to this version. `adapter` and
    `receipt`: of an adapter that `get` was asked for.
    """

    name: str
    kind: str
    base_model: str = ""
    family: str | None = None
    resolution: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    learning_rate: float | None = None
    revision: str | None = None
    licence: str | None = None
    description: str | None = None
    job: str | None = None
    sha256: str | None = None
    start_adapter: str | None = None
    aliases: tuple[str, ...] = ()
    adapter: Adapter | None = None
    receipt: ReceiptStage | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A signed receipt: what an adapter does beside its base model. `body` has every figure; `content` is the file.

    `verdict`: passed (as many denoiser calls as the base, and not measurably worse) or failed, for the `reasons`.
    """

    adapter: str
    verdict: str
    reasons: tuple[str, ...]
    sha256: str
    key_id: str
    body: Mapping[str, Any] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """A reward or a method that a job may name; `schema` is the JSON Schema of its parameters."""

    type: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """One picture: the bytes of its file, the seed that draws it again, and the denoiser calls that it cost, counted."""

    data: bytes = field(repr=False)
    seed: int
    nfe: float
    model: str
    """What drew it: the base model, or adapter@version."""
    warnings: tuple[str, ...] = ()
    """What the text encoder did not see of the prompt."""
    format: str = "png"
    steps: str = ""
    """The padded size of each of its denoiser calls, run-length: 8x12,4x8. The same sizes, the same bits."""
    safety: str = "off"
    """What the service's safety checker says of all pictures of the answer: off, passed, withheld."""
    withheld: str | None = None
    """Why the safety checker kept this one back; `data` is empty then."""

    @property
    def png(self) -> bytes:
        """The file, where it is a PNG. Raises ValueError."""
        if self.format != "png":
            raise ValueError(f"the picture is a {self.format}; its file is in `data`")
        return self.data

    def save(self, path: Path | str) -> Path:
        """Write the file; returns where."""
        written = Path(path)
        written.write_bytes(self.data)
        return written


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture on its way: `index` says which of the n, `number` counts its previews from 0."""

    data: bytes = field(repr=False)
    index: int
    number: int
    format: str = "png"


@dataclass(frozen=True, slots=True)
class Drawing:
    """An asynchronous request for pictures. status: queued, in_progress, completed, failed, cancelled.

    `images` are there once it is completed, until `expires_at`. `step` of `steps`: denoiser steps of all pictures together.
    """

    id: str
    status: str
    model: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    step: int = 0
    steps: int = 0
    images: tuple[Image, ...] = ()
    error: JobError | None = None

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "in_progress")
