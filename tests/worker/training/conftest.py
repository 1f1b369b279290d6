"""Small jobs on the tiny base."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from service.domain.recipes import Recipe
from service.domain.rewards import JpegCompressibilityReward
from worker.models.load import load
from worker.rewards.make import make
from worker.rewards.reward import Reward
from worker.training.events import Event
from worker.training.loop import train

PROMPTS = ("a red dot", "blue", "no", "yes", "a cat")

DRAWN = {"candidates": 3, "rollout_steps": 3, "rollout_guidance": 2.0, "prompts_per_step": 2, "learning_rate": 3e-4}
PAIRED = {**DRAWN, "timesteps_per_pair": 2, "learning_rate": 1e-3}
WALKED = {"walk_steps": 8, "trajectory_length": 2, "least_noise": 0.5}
METHODS: dict[str, dict[str, Any]] = {
    "sharpening-rlhf": {"type": "sharpening-rlhf", **PAIRED},
    "renoised": {"type": "sharpening-rlhf", "states": "renoised", **PAIRED, **WALKED},
    "path-weights": {"type": "sharpening-rlhf", "selection": "path-weights", **PAIRED},
    "paper": {"type": "sharpening-rlhf", "paper": True, "prompts_per_step": 1, "learning_rate": 1e-3},
    "online-dpo": {"type": "online-dpo", **PAIRED},
    "diffusion-dpo": {"type": "diffusion-dpo", **PAIRED},
    "sharpening-sft": {"type": "sharpening-sft", "states": "renoised", **DRAWN, **WALKED},
    "sharpening-sft, rollouts": {
        "type": "sharpening-sft",
        "states": "rollout",
        **DRAWN,
        "trajectory_length": 2,
        "timesteps_per_sample": 2,
    },
    "noisings": {"type": "sharpening-sft", "selection_among": "noisings", **DRAWN, **WALKED},
    "sft": {"type": "sft", **DRAWN, "timesteps_per_sample": 2},
    "sft-on-all": {"type": "sft", "keep": "all", **DRAWN, "timesteps_per_sample": 2},
    "ddpo": {"type": "ddpo", **DRAWN, "steps_per_batch": 2, "noise_level": 1.0},
    "forward-process": {"type": "forward-process", **DRAWN, "timesteps_per_sample": 2, "anchor": 0.1},
}
"""Every method of the union, and what changes its course, in a few pictures of a few steps."""


def recipe(
    name: str = "sharpening-rlhf",
    *,
    steps: int = 4,
    samples: dict[str, Any] | None = None,
    checkpoint_every: int = 2,
    validation: dict[str, Any] | None = None,
    max_nfe: int | None = None,
    **method: Any,
) -> Recipe:
    """Of one of METHODS, with changes to it."""
    return Recipe.model_validate(
        {
            "base_model": "tiny",
            "base": {"name": "tiny", "family": "sd", "source": "/nowhere", "resolution": 64},
            "prompts": PROMPTS,
            "prompts_sha256": "",
            "prompt_count": len(PROMPTS),
            "reward": {"type": "jpeg-compressibility"},
            "method": {**METHODS[name], **method},
            "lora": {"rank": 2, "targets": ["attention", "conv"]},
            "steps": steps,
            "samples": samples or {"every": 2, "num_inference_steps": 2},
            "checkpoint_every": checkpoint_every,
            "validation": validation,
            "max_nfe": max_nfe,
        }
    )


def bright(pictures: Tensor, prompts: Sequence[str]) -> Tensor:
    """A reward without steps in it: another rounding of a picture hardly moves it."""
    return pictures.float().mean(dim=(1, 2, 3))


def jpeg() -> Reward:
    return make(JpegCompressibilityReward(type="jpeg-compressibility"))


@pytest.fixture
def run(sd_folder: Path) -> Callable[..., Iterator[Event]]:
    """`train` on a fresh tiny base."""

    def started(job: Recipe, **options: Any) -> Iterator[Event]:
        reward, prompts = options.pop("reward", jpeg()), options.pop("prompts", PROMPTS)
        return train(load("sd", sd_folder, device="cpu"), reward, job, prompts, **options)

    return started
