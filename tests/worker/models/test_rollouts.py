"""The algorithm's own rollouts, which know no family, draw what each family's plain diffusers pipeline draws."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.worker.models import plain
from tests.worker.models.plain import PROMPTS, SEEDS
from worker.models.base import PipelineFamily
from worker.sharpening.rollout import search
from worker.sharpening.world import Settings
from worker.training.world import world_of


@pytest.mark.parametrize("kind", ["sdxl", "sd3", "sd3-dynamic", "flux-dev", "flux-schnell"])
def test_a_rollout_is_a_drawing(
    kind: str, folder_of: Callable[[str], Path], load_kind: Callable[..., PipelineFamily]
) -> None:
    """In particular no sampler's time is rounded on the way to the denoiser."""
    steps, guidance = 3, 2.0
    world = world_of(load_kind(kind), lambda pictures, prompts: torch.zeros(len(prompts)), {}, PROMPTS)
    settings = Settings(seed=0, micro_batch=3, candidates=1, rollout_steps=steps, rollout_guidance=guidance)
    found = search(world, settings, torch.tensor(SEEDS).unsqueeze(1), judged=0)
    expected = plain.draw(plain.load(kind, folder_of(kind)), guidance=guidance, steps=steps)
    torch.testing.assert_close(found.clean[:, 0], expected, atol=1e-4, rtol=0)
