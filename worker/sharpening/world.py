"""What the algorithm knows of the world: a few callables over rows. Families, text and pictures stay outside.

Rows are independent: row i of an answer depends on row i of the arguments alone, up to the rounding of a batch.
`prompt` is a row's place among the update's prompts; what the prompt says is known to the callables, not to us.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor


class Denoise(Protocol):
    """ε_θ(x_t, t, c) with classifier-free guidance: the prediction [B, C, H, W]."""

    def __call__(self, latents: Tensor, t: Tensor, prompt: Tensor, guidance: float) -> Tensor: ...


class Sampler(Protocol):
    """A walk from noise to picture. `step` gives (next state, preview of the clean latent).

    `stochastic` gives (mean [B, C, H, W], standard deviation, a scalar) of the next state under the sampler's SDE.
    """

    timesteps: tuple[float, ...]  # whole numbers, or a flow model's own times

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> tuple[Tensor, Tensor]: ...

    def stochastic(self, prediction: Tensor, index: int, latents: Tensor, eta: float) -> tuple[Tensor, Tensor]: ...


def at(t: float, rows: Tensor) -> Tensor:
    """The time t for every row, never rounded: a flow model's sampler stops between whole numbers. [B]"""
    return torch.full(rows.shape, t, device=rows.device)


@dataclass(frozen=True, slots=True)
class World:
    """Latents are [B, C, H, W], prompt is int64 [B], t [B] whole or a sampler's own, rewards float [B]; pictures are whatever `decode` gives."""

    device: torch.device
    latent_shape: tuple[int, int, int]
    train_timesteps: int
    parameters: tuple[Tensor, ...]  # θ: the adapter's, and nothing else
    sampler: Callable[[int], Sampler]  # the schedule in so many steps
    denoise: Denoise
    reference: Callable[[], AbstractContextManager[None]]  # inside the block `denoise` is ε_ref: the adapter is off
    searching: Callable[[], AbstractContextManager[None]]  # inside the block θ stays as it is and needs no gradient
    wearing: Callable[[Sequence[Tensor]], AbstractContextManager[None]]  # inside the block θ has these values
    coefficients: Callable[[Tensor], tuple[Tensor, Tensor]]  # t → (a, b) of x_t = a x_0 + b ε, both [B, 1, 1, 1]
    renoise: Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_0, ε, t) → x_t
    target: Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_0, ε, t) → the perfect prediction at x_t
    decode: Callable[[Tensor], Tensor]  # latents → pictures
    reward: Callable[[Tensor, Tensor], Tensor]  # (pictures, prompt) → R
    images: Callable[[int], Tensor]  # a prompt's place → latents of its own pictures [g, C, H, W]; g may be 0
    loss_scale: float = 1.0  # a power of two: what a backward is scaled by where fp16 would round its gradients to 0


@dataclass(frozen=True, slots=True)
class Settings:
    """The hyper-parameters that several methods share; the recipe's words say what each does."""

    seed: int
    micro_batch: int  # rows of one `denoise` at most (guidance doubles them inside); memory, speed and rounding
    candidates: int
    rollout_steps: int
    rollout_guidance: float
    search_factor: int = 1  # micro_batches in one call of a search: without gradients no activations are kept
    least_noise: float = 0.0  # share of the schedule below which nothing is learned
    levels: int = 1  # J: noise levels at which a chosen picture is used
    loss_guidance: float = 1.0
    states: Literal["rollout", "renoised"] = "rollout"
    trajectory_length: int = 1
    walk_steps: int = 50
    temperature: float | None = None  # λ of path-weights; None: arg max

    @property
    def search_batch(self) -> int:
        return self.micro_batch * self.search_factor
