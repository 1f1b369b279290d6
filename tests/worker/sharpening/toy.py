"""A world of 2×2×2 latents in float64: a linear denoiser with a linear adapter, small enough for brute force."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from worker.sharpening.world import Settings, World

SHAPE = (2, 2, 2)
LEVELS = 100
KEPT = torch.linspace(0.999, 0.05, LEVELS, dtype=torch.float64)  # ᾱ_t


def settings(**changes: float) -> Settings:
    defaults = {
        "seed": 7,
        "candidates": 5,
        "rollout_steps": 4,
        "trajectory_length": 2,
        "walk_steps": 4,
        "rollout_guidance": 2.0,
        "loss_guidance": 1.0,
        "levels": 3,
        "least_noise": 0.0,
        "micro_batch": 64,
    }
    return Settings(**{**defaults, **changes})  # type: ignore[arg-type]


class Walk:
    """DDIM, trailing spacing: of a model that predicts ε, or v."""

    def __init__(self, steps: int, *, v: bool = False) -> None:
        self.timesteps = tuple(LEVELS * (steps - place) // steps - 1 for place in range(steps))
        self.v = v

    def kept(self, index: int) -> tuple[Tensor, Tensor]:
        """ᾱ here, and after the step."""
        last = index + 1 == len(self.timesteps)
        following = torch.ones((), dtype=torch.float64) if last else KEPT[self.timesteps[index + 1]]
        return KEPT[self.timesteps[index]], following

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> tuple[Tensor, Tensor]:
        return self._moved(prediction, index, latents, 0.0)

    def stochastic(self, prediction: Tensor, index: int, latents: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """DDIM's Eq. 12 and 16."""
        kept, following = self.kept(index)
        std = eta * ((1 - following) / (1 - kept) * (1 - kept / following)).sqrt()
        return self._moved(prediction, index, latents, std)[0], std

    def _moved(self, prediction: Tensor, index: int, latents: Tensor, std: Tensor | float) -> tuple[Tensor, Tensor]:
        kept, following = self.kept(index)
        clean, noise = (latents - (1 - kept).sqrt() * prediction) / kept.sqrt(), prediction
        if self.v:
            clean = kept.sqrt() * latents - (1 - kept).sqrt() * prediction
            noise = kept.sqrt() * prediction + (1 - kept).sqrt() * latents
        return following.sqrt() * clean + (1 - following - std**2).sqrt() * noise, clean


class Row(NamedTuple):
    """What a row of the denoiser was asked with."""

    prompt: int
    graded: bool
    adapted: bool


class Toy:
    """`rows` remembers every row that the denoiser was asked for, `calls` how many there were in each call."""

    def __init__(self, theta: float = 0.05) -> None:
        draw = torch.Generator().manual_seed(0)
        self.base = 0.3 * torch.randn(8, 8, generator=draw, dtype=torch.float64)
        self.words = torch.randn(16, 8, generator=draw, dtype=torch.float64)
        self.theta = (theta * torch.randn(8, 8, generator=draw, dtype=torch.float64)).requires_grad_()
        self.on = True
        self.rows: list[Row] = []
        self.calls: list[int] = []

    def denoise(self, latents: Tensor, t: Tensor, prompt: Tensor, guidance: float) -> Tensor:
        self.calls.append(len(latents))
        self.rows += [Row(place, torch.is_grad_enabled(), self.on) for place in prompt.tolist()]
        flat = latents.double().flatten(1)
        adapted = flat @ self.theta if self.on else 0
        return (flat @ self.base + guidance * 0.2 * self.words[prompt] + adapted).view_as(latents)

    @contextmanager
    def reference(self) -> Iterator[None]:
        self.on = False
        yield
        self.on = True

    @contextmanager
    def wearing(self, values: Sequence[Tensor]) -> Iterator[None]:
        own, self.theta.data = self.theta.data, values[0]
        yield
        self.theta.data = own


def pleasant(pictures: Tensor, prompt: Tensor) -> Tensor:
    return pictures.flatten(1)[:, 0] + 0.1 * prompt


def rugged(pictures: Tensor, prompt: Tensor) -> Tensor:
    """So uneven that the best of the sums over a trajectory is not the best of its last states."""
    return (40 * pictures.flatten(1)[:, 0]).sin() + 0.1 * prompt


def renoise(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    kept = KEPT[t].view(-1, 1, 1, 1)
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise


def coefficients(t: Tensor) -> tuple[Tensor, Tensor]:
    kept = KEPT[t].view(-1, 1, 1, 1)
    return kept.sqrt(), (1 - kept).sqrt()


def velocity(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    signal, spread = coefficients(t)
    return signal * noise - spread * clean


def no_images(place: int) -> Tensor:
    return torch.empty(0, *SHAPE)


def world(
    toy: Toy,
    reward: Callable[[Tensor, Tensor], Tensor] = pleasant,
    images: Callable[[int], Tensor] = no_images,
    *,
    v: bool = False,
) -> World:
    return World(
        device=torch.device("cpu"),
        latent_shape=SHAPE,
        train_timesteps=LEVELS,
        parameters=(toy.theta,),
        sampler=lambda steps: Walk(steps, v=v),
        denoise=toy.denoise,
        reference=toy.reference,
        searching=nullcontext,
        wearing=toy.wearing,
        coefficients=coefficients,
        renoise=renoise,
        target=velocity if v else lambda clean, noise, t: noise,
        decode=lambda latents: latents,
        reward=reward,
        images=images,
    )
