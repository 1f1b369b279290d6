"""What the algorithm knows of the world: a few callables over rows. Families, text and pictures stay outside.

Rows are independent: row i of an answer depends on row i of the arguments alone, up to the rounding of a batch.
`prompt` is a row's place among the update's prompts; what the prompt says is known to the callables, not to us.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Denoise(Protocol):
    """ε_θ(x_t, t, c) with classifier-free guidance: the prediction [B, C, H, W]."""

    def __call__(self, latents: Tensor, t: Tensor, prompt: Tensor, guidance: float) -> Tensor: ...


class Sampler(Protocol):
    """A deterministic walk from noise to picture: `step` gives (next state, preview of the clean latent)."""

    timesteps: tuple[int, ...]

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, slots=True)
class World:
    """Latents are [B, C, H, W], t and prompt are int64 [B], rewards float [B]; pictures are whatever `decode` gives."""

    device: torch.device
    latent_shape: tuple[int, int, int]
    train_timesteps: int
    parameters: tuple[Tensor, ...]  # θ: the adapter's, and nothing else
    sampler: Sampler  # of the rollouts
    denoise: Denoise
    reference: Callable[[], AbstractContextManager[None]]  # inside the block `denoise` is ε_ref: the adapter is off
    searching: Callable[[], AbstractContextManager[None]]  # inside the block θ stays as it is and needs no gradient
    renoise: Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_0, ε, t) → x_t
    target: Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_0, ε, t) → the perfect prediction at x_t
    decode: Callable[[Tensor], Tensor]  # latents → pictures
    reward: Callable[[Tensor, Tensor], Tensor]  # (pictures, prompt) → R


@dataclass(frozen=True, slots=True)
class Settings:
    """The hyper-parameters of an update; the recipe's words say what each does."""

    seed: int
    candidates: int
    trajectory_length: int
    rollout_guidance: float
    loss_guidance: float
    timesteps_per_pair: int
    least_noise: float  # share of the schedule below which no pair is compared
    micro_batch: int  # rows of one denoiser call at most; memory and speed, never the result
