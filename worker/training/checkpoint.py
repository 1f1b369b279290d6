"""The full state of a training as one file: safetensors, a JSON header in its metadata, a digest over all of it.

No pickle: a checkpoint is data. What is missing is not needed: chance is keyed (`sharpening/rng.py`); the schedule, the
order of the prompts and the average's decay are functions of the step; fp16's loss scale is found anew for each loss.
Beside the state a file may carry its driver's account (how long it took, on what): the digest of the state is without it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from service.domain.errors import JobFailure
from worker.models.counter import Counts
from worker.sharpening.beta import Beta
from worker.sharpening.update import Memory

FORMAT, VERSION = "strop-checkpoint", 3
READ = (2, VERSION)
"""2 remembers all pictures of a pool, 3 those that are learned from, which are taken out of either (`sharpening/pool.py`)."""
REMEMBERED = "memory/"


@dataclass(frozen=True, slots=True)
class Best:
    """The best validation so far: which step, its mean reward, and how many have come since. step −1: none yet."""

    step: int = -1
    reward: float = 0.0
    since: int = 0

    def after(self, step: int, reward: float) -> "Best":
        """Of equals the earlier one."""
        if self.step < 0 or reward > self.reward:
            return Best(step, reward)
        return Best(self.step, self.reward, self.since + 1)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a checkpoint knows beside the optimiser's tensors."""

    step: int
    counts: Counts
    backward_cost: float
    memory: Memory = field(default_factory=Memory)
    best: Best = field(default_factory=Best)


@dataclass(frozen=True)
class Snapshot:
    """A copy of the state in the machine's memory. Training goes on at once; packing it can be somebody else's work."""

    progress: Progress
    tensors: Mapping[str, Tensor]

    @staticmethod
    def of(progress: Progress, tensors: Mapping[str, Tensor]) -> "Snapshot":
        """Copies: later updates of the same tensors change nothing here."""
        remembered = {f"{REMEMBERED}{name}": value for name, value in progress.memory.tensors.items()}
        copies = {
            name: value.detach().to("cpu", copy=True).contiguous() for name, value in {**tensors, **remembered}.items()
        }
        return Snapshot(progress, copies)

    @cached_property
    def header(self) -> str:
        progress = self.progress
        fields = {
            "step": progress.step, "counts": asdict(progress.counts), "backward_cost": progress.backward_cost,
            "beta": asdict(progress.memory.beta), "best": asdict(progress.best),
        }  # fmt: skip
        return json.dumps(fields, sort_keys=True)

    @cached_property
    def sha256(self) -> str:
        """Of the state alone: equal for equal states, whatever the account says."""
        return digest(self.header, self.tensors)

    def pack(self, account: Mapping[str, Any] | None = None) -> bytes:
        """The same state and account give the same bytes (in one metadata entry: safetensors shuffles several)."""
        envelope = {"version": VERSION, "header": self.header, "sha256": self.sha256, "account": account or {}}
        return safetensors.torch.save(
            dict(self.tensors), metadata={FORMAT: json.dumps(envelope, sort_keys=True, allow_nan=False)}
        )


def pack(progress: Progress, tensors: Mapping[str, Tensor]) -> bytes:
    """A snapshot's bytes, without an account."""
    return Snapshot.of(progress, tensors).pack()


def account_of(data: bytes) -> dict[str, Any]:
    """What the driver wrote beside the state. Raises JobFailure `checkpoint_damaged`."""
    account = _envelope(data).get("account", {})
    return account if isinstance(account, dict) else {}


def unpack(data: bytes) -> tuple[Progress, dict[str, Tensor]]:
    """Raises JobFailure `checkpoint_damaged` or `checkpoint_version`; never returns half of a state."""
    envelope = _envelope(data)
    try:
        version, header, sha256 = (envelope[key] for key in ("version", "header", "sha256"))
        tensors = safetensors.torch.load(data)
    except (ValueError, KeyError, TypeError, OverflowError, safetensors.SafetensorError) as error:
        raise _damaged(f"the checkpoint is no whole file of ours: {error}") from error
    if version not in READ:
        raise JobFailure(
            f"the checkpoint has version {version}, and this worker reads {' and '.join(map(str, READ))}; "
            "resume it with the release that wrote it",
            code="checkpoint_version",
        )
    if digest(header, tensors) != sha256:
        raise _damaged("the checkpoint's digest does not fit its content: it is damaged")
    fields = json.loads(header)
    beta = fields["beta"]
    remembered = [name for name in tensors if name.startswith(REMEMBERED)]
    memory = Memory(
        Beta(beta["value"], beta["fixed"], tuple(beta["gaps"])),
        {name.removeprefix(REMEMBERED): tensors.pop(name) for name in remembered},
    )
    counts = Counts(**fields["counts"])
    return Progress(fields["step"], counts, fields["backward_cost"], memory, Best(**fields["best"])), tensors


def digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the header and, in the order of their names, each tensor's name, type, shape and bytes."""
    sha256 = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        value = tensors[name]
        sha256.update(f"{name}/{value.dtype}/{tuple(value.shape)}".encode())
        sha256.update(value.flatten().view(torch.uint8).numpy().tobytes())  # numpy has no bf16
    return sha256.hexdigest()


def _envelope(data: bytes) -> dict[str, Any]:
    try:
        length = int.from_bytes(data[:8], "little")
        envelope = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][FORMAT])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise _damaged(f"the checkpoint is no whole file of ours: {error}") from error
    if not isinstance(envelope, dict):
        raise _damaged("the checkpoint is no whole file of ours")
    return envelope


def _damaged(message: str) -> JobFailure:
    return JobFailure(message, code="checkpoint_damaged")
