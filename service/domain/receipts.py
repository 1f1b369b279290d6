"""Receipts: what an adapter does beside its base model, measured by the inference endpoint and signed by the steward.

A receipt answers two questions with figures: does the adapter cost what the base costs (denoiser calls, time, memory), and
does it draw better (by the job's reward, and by one that the training never saw). "Base" is plain diffusers with no LoRA
layer installed. The signed file is `SignedReceipt.canonical()`, byte for byte; docs/receipts.md says how to check one by hand.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from service.domain.errors import Unavailable
from service.domain.ids import Fence, JobId, TenantId

FORMAT = 1
DEFAULT_PROMPTS = 16
"""Of a receipt that nobody asked otherwise: the first of the job's validation prompts, else of its training prompts."""
DEFAULT_PICTURES = 4
"""Of each prompt, from seeds that count up from 0: picture i of all has seed i."""
MAX_PROMPTS = 64
MAX_PICTURES = 512

Ci95 = tuple[float, float]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Source = Literal["validation", "training", "request"]


class NotNow(Unavailable):
    """The inference endpoint cannot measure now: ask it again after `retry_after` seconds."""

    code = "receipt_not_now"


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Drawing(_Record):
    """How every picture was drawn, on both sides alike. `batch_sizes`: of the denoiser's calls, run by run."""

    prompts_from: Source
    prompts_sha256: Sha256
    prompt_count: int = Field(ge=1)
    seeds: tuple[int, ...] = Field(min_length=1, max_length=MAX_PICTURES)
    """One a picture; picture i is of prompt i modulo `prompt_count`."""
    num_inference_steps: int
    guidance_scale: Finite
    scheduler: str
    resolution: int
    batch_sizes: tuple[int, ...]
    base_sha256: Sha256
    adapter_sha256: Sha256
    """Of the pictures' pixels, one after another."""


class Calls(_Record):
    """Denoiser forwards a picture, counted by a hook on the denoiser itself; guidance above 1 counts two a step."""

    base: Finite = Field(gt=0)
    adapter: Finite = Field(ge=0)
    ratio: Finite


class Latency(_Record):
    """Seconds of one picture alone, base and adapter in turns: medians, and the median of the pairs' ratios."""

    base_seconds: Finite
    adapter_seconds: Finite
    ratio: Finite
    ratio_ci95: Ci95
    pairs: int


class Judgement(_Record):
    """Both sides under one reward. Intervals are drawn over prompts; a tie is half a win."""

    reward: dict[str, Any]
    base_mean: Finite
    adapter_mean: Finite
    gain: Finite
    gain_ci95: Ci95
    win_rate: Finite
    win_rate_ci95: Ci95


class Memory(_Record):
    """The most that was in use while pictures were drawn, in bytes; null where this kind of device does not tell.

    base_bytes is without slots_bytes: the engine's places for adapters, which stay where they are while the base is drawn.
    adapter_bytes is all. Receipts from before the slots were counted have no slots_bytes, and theirs are in base_bytes.
    """

    base_bytes: int | None
    adapter_bytes: int | None
    slots_bytes: int | None = None
    kind: Literal["device", "process"]

    @model_serializer(mode="wrap")
    def _as_it_was_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Old receipts keep their bytes, which were signed."""
        written: dict[str, Any] = write(self)
        return written if self.slots_bytes is not None else {k: v for k, v in written.items() if k != "slots_bytes"}


class BreakEven(_Record):
    """From how many pictures on the training was cheaper than searching with the base for as much (best of N under the
    job's reward): training_fe / ((N − 1) · calls a picture). `images` is null where `reason` says why."""

    images: int | None
    best_of: int | None
    training_nfe: int
    training_fe: Finite
    reason: str | None


class Measured(_Record):
    """What was measured."""

    drawing: Drawing
    calls: Calls
    latency: Latency
    reward: Judgement
    held_out: Judgement | None
    held_out_missing: str | None
    """Why there is no judge that the training did not use."""
    memory: Memory
    break_even: BreakEven


class Receipt(Measured):
    """The whole receipt, before it is signed. One that contradicts itself cannot be made or read."""

    format: Literal[1] = 1
    adapter: str
    adapter_sha256: Sha256
    manifest_sha256: Sha256
    job: str
    base_model: str
    base_revision: str
    family: str
    device: str
    torch_version: str
    code_version: str
    created_at: AwareDatetime
    verdict: Verdict
    reasons: tuple[str, ...]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Receipt":
        if self.reasons != faults(self) or (self.verdict is Verdict.FAILED) != bool(self.reasons):
            raise ValueError("the verdict does not follow from the figures")
        return self

    def canonical(self) -> bytes:
        """The bytes whose SHA-256 is signed: sorted keys, no spare blanks, ASCII."""
        return canonical(self.model_dump(mode="json"))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical()).hexdigest()


def faults(measured: Measured) -> tuple[str, ...]:
    """Why a receipt fails; empty: it passes. The price must be the base's to the call, and the pictures not measurably worse.

    Time and memory are figures, not reasons: they depend on the machine and on who else uses it.
    """
    calls, judged = measured.calls, measured.reward
    found = []
    if calls.adapter != calls.base or calls.ratio != 1.0:
        found.append(
            f"a picture takes {calls.adapter:g} denoiser calls with the adapter and {calls.base:g} without: "
            f"{calls.ratio:.3f} ×, not 1.000 ×"
        )
    if judged.gain_ci95[1] < 0:
        low, high = judged.gain_ci95
        found.append(
            f"under the job's reward the adapter draws worse than the base: {judged.gain:+.4g} (95 %: {low:+.4g} to {high:+.4g})"
        )
    return tuple(found)


class SignedReceipt(_Record):
    """A receipt with the SHA-256 of its canonical bytes, and an Ed25519 signature (RFC 8032) of `statement`."""

    format: Literal[1] = 1
    receipt: Receipt
    sha256: Sha256
    key_id: str = Field(pattern=r"^[A-Za-z0-9_-]{43}$")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")

    def canonical(self) -> bytes:
        """The file's bytes."""
        return canonical(self.model_dump(mode="json"))


def statement(sha256: str, key_id: str) -> bytes:
    """What is signed: the receipt's digest and the key's id, under a word that makes it a signature of nothing else."""
    return f"strop receipt {FORMAT}\n{key_id}\n{sha256}\n".encode()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def thumbprint(public: bytes) -> str:
    """A key's id (RFC 7638, of the JWK that RFC 8037 gives it): it follows from the 32 bytes and never means another key."""
    jwk = canonical({"crv": "Ed25519", "kty": "OKP", "x": base64url(public)})
    return base64url(hashlib.sha256(jwk).digest())


def base64url(data: bytes) -> str:
    """Without padding, as JWK has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half of a signing key that everybody may have, 32 bytes; `id` is its thumbprint."""

    id: str
    raw: bytes
    created_at: datetime


class Stage(StrEnum):
    """How far an adapter version's receipt is: to be asked for, signed, or given up after as many tries as are allowed."""

    PENDING = "pending"
    SIGNED = "signed"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """An adapter version's receipt, as the database knows it. `tries` is its fence: + 1 each time that it is asked for, and
    never otherwise; `spent` of them count.

    `file_fence` and `file_name` name the signed file among the artifacts of the job that made the adapter.
    """

    tenant: TenantId
    name: str
    version: int
    job: JobId
    tries: int
    spent: int
    is_asked_for: bool
    error: str | None
    """Why the last try brought none."""
    verdict: Verdict | None
    sha256: str | None
    key_id: str | None
    file_fence: Fence | None
    file_name: str | None
    signed_at: datetime | None

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def stage(self) -> Stage:
        if self.sha256 is not None:
            return Stage.SIGNED
        return Stage.PENDING if self.is_asked_for else Stage.GIVEN_UP


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A signed receipt's file, stored and read back, before its row: beside the manifest, among the job's artifacts."""

    job: JobId
    fence: Fence
    name: str
    key: str
    bytes: int
    file_sha256: str
    sha256: str
    key_id: str
    verdict: Verdict
