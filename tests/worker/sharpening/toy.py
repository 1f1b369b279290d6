"""A world of 2×2×2 latents in float64: a linear denoiser with a linear adapter, small enough for brute force."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

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
    """DDIM in four steps."""

    timesteps = (99, 66, 33, 10)

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> tuple[Tensor, Tensor]:
        kept = KEPT[self.timesteps[index]]
        following = KEPT[self.timesteps[index + 1]] if index + 1 < len(self.timesteps) else torch.tensor(1.0)
        clean = (latents - (1 - kept).sqrt() * prediction) / kept.sqrt()
        return following.sqrt() * clean + (1 - following).sqrt() * prediction, clean

    def stochastic(self, prediction: Tensor, index: int, latents: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """DDIM's Eq. 12 and 16."""
        kept = KEPT[self.timesteps[index]]
        following = KEPT[self.timesteps[index + 1]] if index + 1 < len(self.timesteps) else torch.tensor(1.0)
        std = eta * ((1 - following) / (1 - kept) * (1 - kept / following)).sqrt()
        clean = (latents - (1 - kept).sqrt() * prediction) / kept.sqrt()
        return following.sqrt() * clean + (1 - following - std**2).sqrt() * prediction, std


class Toy:
    """`calls` remembers the prompt and the gradient mode of every denoiser row."""

    def __init__(self, theta: float = 0.05) -> None:
        draw = torch.Generator().manual_seed(0)
        self.base = 0.3 * torch.randn(8, 8, generator=draw, dtype=torch.float64)
        self.words = torch.randn(16, 8, generator=draw, dtype=torch.float64)
        self.theta = (theta * torch.randn(8, 8, generator=draw, dtype=torch.float64)).requires_grad_()
        self.on = True
        self.rows: list[tuple[int, bool]] = []

    def denoise(self, latents: Tensor, t: Tensor, prompt: Tensor, guidance: float) -> Tensor:
        self.rows += [(place, torch.is_grad_enabled()) for place in prompt.tolist()]
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


def renoise(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    kept = KEPT[t].view(-1, 1, 1, 1)
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise


def coefficients(t: Tensor) -> tuple[Tensor, Tensor]:
    kept = KEPT[t].view(-1, 1, 1, 1)
    return kept.sqrt(), (1 - kept).sqrt()


def no_images(place: int) -> Tensor:
    return torch.empty(0, *SHAPE)


def world(
    toy: Toy,
    reward: Callable[[Tensor, Tensor], Tensor] = pleasant,
    images: Callable[[int], Tensor] = no_images,
) -> World:
    return World(
        device=torch.device("cpu"),
        latent_shape=SHAPE,
        train_timesteps=LEVELS,
        parameters=(toy.theta,),
        sampler=lambda steps: Walk(),
        denoise=toy.denoise,
        reference=toy.reference,
        searching=nullcontext,
        wearing=toy.wearing,
        coefficients=coefficients,
        renoise=renoise,
        target=lambda clean, noise, t: noise,
        decode=lambda latents: latents,
        reward=reward,
        images=images,
    )
