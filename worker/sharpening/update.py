"""What every method is: a function of the world, of what it remembers and of the update's number to a gradient.

    method(world, memory, update, prompts) -> Step(gradient, memory, metrics)

Everything random in it is a function of (seed, update, prompt, use), see rng.py. `prompts` are the places of the update's
prompts in the job's list: what is made once for a prompt is remembered under its place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from worker.sharpening.beta import Beta
from worker.sharpening.world import World


@dataclass(frozen=True, slots=True)
class Memory:
    """All that goes from one update to the next beside θ. It is part of every checkpoint."""

    beta: Beta = field(default_factory=Beta)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of the pictures judged in this update: the mean reward, and the mean over prompts of the highest and the lowest.

    None where nothing was judged or compared. Of pairs: the median |β·(Δ_best − Δ_worst)|, the share with the right sign.
    """

    reward_mean: float | None = None
    reward_best: float | None = None
    reward_worst: float | None = None
    ties: int = 0
    loss: float | None = None
    preference: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    gradient: tuple[Tensor, ...] | None  # None: every prompt was a tie, and there is nothing to learn
    memory: Memory
    metrics: Metrics


Method = Callable[[World, Memory, int, Sequence[int]], Step]
"""(world, memory, update, prompts) → Step. The method's settings are bound when it is made (training/methods.py)."""


def judged(rewards: Tensor) -> Metrics:
    """Of rewards [P, n] of finished pictures."""
    return Metrics(
        reward_mean=rewards.mean().item(),
        reward_best=rewards.amax(dim=1).mean().item(),
        reward_worst=rewards.amin(dim=1).mean().item(),
    )
