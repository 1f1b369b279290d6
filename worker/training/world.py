"""The algorithm's world made of a family, a reward and the prompts of one update."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from service.domain.errors import JobFailure
from worker.models.family import Family
from worker.rewards.reward import Reward
from worker.sharpening.world import World
from worker.training.attention import without_cudnn
from worker.training.trial import lent

Images = Callable[[str, int], np.ndarray | None]
"""(prompt, update) → the prompt's own pictures for that update, uint8 [g, H, W, 3], where the job brought some."""


FP16_SCALE = 2.0**16
"""A mean over 16,384 latents and 64 rows makes gradients of 1e-6 and less; fp16 knows nothing below 6e-8."""


def no_images(prompt: str, update: int) -> None:
    return None


def world_of(  # noqa: PLR0917 — what an update is made of
    family: Family,
    reward: Reward,
    parameters: Mapping[str, Tensor],
    prompts: Sequence[str],
    images: Images = no_images,
    update: int = 0,
) -> World:
    conditions = family.encode(prompts)

    def denoise(latents: Tensor, t: Tensor, prompt: Tensor, guidance: float) -> Tensor:
        return family.predict(latents, t, conditions[prompt], guidance)

    def decode(latents: Tensor) -> Tensor:
        if not latents.isfinite().all():
            raise JobFailure(
                "the base model draws latents that are not numbers: train in fp32 or bf16, "
                "and check the base model's folder with plain diffusers",
                code="nan_latents",
            )
        return family.decode_preview(latents)

    def judge(pictures: Tensor, prompt: Tensor) -> Tensor:
        family.counter.scored(len(pictures))
        return reward(pictures, [prompts[place] for place in prompt.tolist()])

    @contextmanager
    def wearing(values: Sequence[Tensor]) -> Iterator[None]:
        with lent(parameters, dict(zip(parameters, values, strict=True))):
            yield

    def coefficients(t: Tensor) -> tuple[Tensor, Tensor]:
        one, zero = (torch.full((len(t), 1, 1, 1), value, device=family.device) for value in (1.0, 0.0))
        return family.renoise(one, zero, t), family.renoise(zero, one, t)

    def own_images(place: int) -> Tensor:
        pictures = images(prompts[place], update)
        if pictures is None:
            return torch.empty(0, *family.latent_shape, device=family.device)
        return torch.cat([family.latents(torch.from_numpy(picture)[None]) for picture in pictures])  # one in memory

    return World(
        device=family.device,
        latent_shape=family.latent_shape,
        train_timesteps=family.train_timesteps,
        parameters=tuple(parameters.values()),
        sampler=family.sampler,
        denoise=denoise,
        reference=family.adapter_off,
        searching=family.adapter_folded,
        wearing=wearing,
        coefficients=coefficients,
        renoise=family.renoise,
        target=family.target,
        decode=decode,
        reward=judge,
        images=own_images,
        loss_scale=FP16_SCALE if family.dtype == torch.float16 else 1.0,
    )


def backward_cost(family: Family, parameters: Sequence[Tensor], prompt: str) -> float:
    """b of this base with this adapter: see `models/counter.py`."""
    latents, conditions = torch.zeros((1, *family.latent_shape), device=family.device), family.encode([prompt])
    with without_cudnn():
        return family.counter.backward_cost(lambda: family.predict(latents, 0, conditions), parameters)
