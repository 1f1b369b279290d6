"""The full state of a training as one file: safetensors, a JSON header in its metadata, a digest over all of it.

No pickle: a checkpoint is data. What is missing is not needed: chance is keyed (`sharpening/rng.py`); the schedule, the
order of the prompts and the average's decay are functions of the step.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import safetensors
import safetensors.torch
from torch import Tensor

from service.domain.errors import JobFailure
from worker.models.counter import Counts
from worker.sharpening.beta import Beta
from worker.sharpening.update import Memory
from worker.training.trial import Best

FORMAT, VERSION = "strop-checkpoint", 2
REMEMBERED = "memory/"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a checkpoint knows beside the optimiser's tensors."""

    step: int
    counts: Counts
    backward_cost: float
    memory: Memory = field(default_factory=Memory)
    best: Best = field(default_factory=Best)


def pack(progress: Progress, tensors: Mapping[str, Tensor]) -> bytes:
    """The same state gives the same bytes (in one metadata entry: safetensors shuffles several)."""
    memory = progress.memory
    fields = {
        "step": progress.step, "counts": asdict(progress.counts), "backward_cost": progress.backward_cost,
        "beta": asdict(memory.beta), "best": asdict(progress.best),
    }  # fmt: skip
    header = json.dumps(fields, sort_keys=True)
    whole = {**tensors, **{f"{REMEMBERED}{name}": value.cpu().contiguous() for name, value in memory.tensors.items()}}
    envelope = {"version": VERSION, "header": header, "sha256": digest(header, whole)}
    return safetensors.torch.save(whole, metadata={FORMAT: json.dumps(envelope)})


def unpack(data: bytes) -> tuple[Progress, dict[str, Tensor]]:
    """Raises JobFailure `checkpoint_damaged` or `checkpoint_version`; never returns half of a state."""
    try:
        length = int.from_bytes(data[:8], "little")
        envelope = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][FORMAT])
        version, header, sha256 = (envelope[key] for key in ("version", "header", "sha256"))
        tensors = safetensors.torch.load(data)
    except (ValueError, KeyError, TypeError, OverflowError, safetensors.SafetensorError) as error:
        raise JobFailure(f"the checkpoint is no whole file of ours: {error}", code="checkpoint_damaged") from error
    if version != VERSION:
        raise JobFailure(
            f"the checkpoint has version {version}, and this worker reads {VERSION}; "
            "resume it with the release that wrote it",
            code="checkpoint_version",
        )
    if digest(header, tensors) != sha256:
        raise JobFailure("the checkpoint's digest does not fit its content: it is damaged", code="checkpoint_damaged")
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
        sha256.update(value.numpy().tobytes())
    return sha256.hexdigest()
