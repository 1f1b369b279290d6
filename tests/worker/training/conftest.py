"""Small jobs on the tiny base."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.domain.recipes import Recipe
from service.domain.rewards import JpegCompressibilityReward
from worker.models.load import load
from worker.rewards.make import make
from worker.rewards.reward import Reward
from worker.training.events import Event
from worker.training.loop import train

PROMPTS = ("a red dot", "blue", "no", "yes", "a cat")


def recipe(
    *, steps: int = 4, samples: dict[str, Any] | None = None, checkpoint_every: int = 2, **method: Any
) -> Recipe:
    small = {
        "candidates": 3,
        "rollout_steps": 3,
        "rollout_guidance": 2.0,
        "prompts_per_step": 2,
        "timesteps_per_pair": 2,
    }
    return Recipe.model_validate(
        {
            "base_model": "tiny",
            "base": {"name": "tiny", "family": "sd", "source": "/nowhere", "resolution": 64},
            "prompts": PROMPTS,
            "prompts_sha256": "",
            "prompt_count": len(PROMPTS),
            "reward": {"type": "jpeg-compressibility"},
            "method": {"type": "sharpening-rlhf", **small, **method},
            "lora": {"rank": 2, "targets": ["attention", "conv"]},
            "steps": steps,
            "samples": samples or {"every": 2, "num_inference_steps": 2},
            "checkpoint_every": checkpoint_every,
        }
    )


def jpeg() -> Reward:
    return make(JpegCompressibilityReward(type="jpeg-compressibility"))


@pytest.fixture
def run(sd_folder: Path) -> Callable[..., Iterator[Event]]:
    """`train` on a fresh tiny base."""

    def started(job: Recipe, **options: Any) -> Iterator[Event]:
        return train(load("sd", sd_folder, device="cpu"), options.pop("reward", jpeg()), job, PROMPTS, **options)

    return started
