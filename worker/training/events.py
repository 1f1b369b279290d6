"""What a training tells whoever drives it, in the order of happening. Frozen; numbers are never NaN.

`step` counts finished optimiser updates: 0 is the base model, `recipe.steps` is the end.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from worker.training.checkpoint import Snapshot


@dataclass(frozen=True, slots=True)
class Resumed:
    """Training goes on from a checkpoint made after `step` updates."""

    step: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a person should know, and that does not stop the job."""

    step: int
    message: str


@dataclass(frozen=True, slots=True)
class Stepped:
    """One update is done. Rewards are of the pictures that it judged, None where it judged none; what concerns pairs is
    None where there was none.

    `training_nfe`, `training_fe`, `decodes` and `reward_calls` are totals since the job's start, without the samples.
    """

    step: int
    reward_mean: float | None
    reward_best: float | None
    reward_worst: float | None
    ties: int
    loss: float | None
    preference: float | None
    accuracy: float | None
    beta: float
    grad_norm: float | None
    learning_rate: float
    training_nfe: int
    training_fe: int
    decodes: int
    reward_calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """Pictures of fixed prompts and seeds with the adapter that would be delivered now: uint8 [B, H, W, 3]."""

    step: int
    pictures: np.ndarray
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    guidance: float
    num_inference_steps: int
    nfe: int


@dataclass(frozen=True, slots=True)
class Validated:
    """The mean reward over the validation prompts, one picture each, with the adapter that would be delivered now."""

    step: int
    reward: float
    pictures: int


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """Everything that going on needs: a copy, so that the driver may write it while the loop goes on."""

    step: int
    snapshot: Snapshot

    @property
    def data(self) -> bytes:
        """As one file, made anew at each look."""
        return self.snapshot.pack()


@dataclass(frozen=True, slots=True)
class Finished:
    """The end: the averaged adapter as a file that plain diffusers loads, and what it cost.

    `step` is the last update; `kept_step` the one whose adapter is delivered (the best by validation, where there is one).
    `kohya`: the same adapter under the keys that ComfyUI and kohya's tools read, for the families that have such.
    `reason`: completed; guard (validation has not risen for `patience` turns); max_nfe or max_seconds (a budget is spent).
    """

    step: int
    kept_step: int
    reason: Literal["completed", "guard", "max_nfe", "max_seconds"]
    adapter: bytes
    kohya: bytes | None
    sha256: str
    training_nfe: int
    training_fe: int
    decodes: int
    reward_calls: int


Event = Resumed | Warned | Stepped | Sampled | Validated | Checkpointed | Finished
