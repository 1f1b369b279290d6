"""The algorithm's world made of a family, a reward and the prompts of one update."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.domain.errors import JobFailure
from service.domain.recipes import Recipe
from worker.models.family import Family
from worker.rewards.reward import Reward
from worker.sharpening.world import Settings, World

LATENT_PIXELS_PER_CALL = 32_768
MOST_ROWS = 128


def settings_of(recipe: Recipe, latent_shape: tuple[int, int, int]) -> Settings:
    method = recipe.method
    _, height, width = latent_shape
    automatic = max(1, min(MOST_ROWS, LATENT_PIXELS_PER_CALL // (height * width)))
    return Settings(
        seed=recipe.seed,
        candidates=method.candidates,
        trajectory_length=method.trajectory_length,
        rollout_guidance=method.rollout_guidance,
        loss_guidance=method.loss_guidance,
        timesteps_per_pair=method.timesteps_per_pair,
        least_noise=method.least_noise,
        micro_batch=automatic if method.micro_batch == "auto" else method.micro_batch,
    )


def world_of(
    family: Family, reward: Reward, parameters: Sequence[Tensor], prompts: Sequence[str], rollout_steps: int
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
        return family.decode(latents)

    def judge(pictures: Tensor, prompt: Tensor) -> Tensor:
        family.counter.scored(len(pictures))
        return reward(pictures, [prompts[place] for place in prompt.tolist()])

    return World(
        device=family.device,
        latent_shape=family.latent_shape,
        train_timesteps=family.train_timesteps,
        parameters=tuple(parameters),
        sampler=family.sampler(rollout_steps),
        denoise=denoise,
        reference=family.adapter_off,
        searching=family.adapter_folded,
        renoise=family.renoise,
        target=family.target,
        decode=decode,
        reward=judge,
    )


def backward_cost(family: Family, parameters: Sequence[Tensor], prompt: str) -> float:
    """b of this base with this adapter: see `models/counter.py`."""
    latents, conditions = torch.zeros((1, *family.latent_shape), device=family.device), family.encode([prompt])
    return family.counter.backward_cost(lambda: family.predict(latents, 0, conditions), parameters)
