"""The algorithm's world of a real family."""

from pathlib import Path

import torch

from tests.worker.training.conftest import PROMPTS, bright
from worker.models.load import load
from worker.sharpening.pool import pooled
from worker.sharpening.update import Memory
from worker.sharpening.world import Settings
from worker.training.world import world_of

OWN = Settings(seed=3, micro_batch=4, candidates=3, rollout_steps=3, rollout_guidance=2.0)


class TestWorldOf:
    def test_pools_are_the_bases_pictures_whatever_the_adapter_has_become(self, sd_folder: Path) -> None:
        """Offline methods learn from the frozen base: what is worn meanwhile must not be seen, folded or not."""
        family = load("sd", sd_folder, device="cpu", dtype="fp32")
        _, before = pooled(world_of(family, bright, {}, PROMPTS), OWN, Memory(), range(len(PROMPTS)), judged=1)
        parameters = family.add_adapter(2, ["attention", "conv"], seed=0)
        for place, parameter in enumerate(parameters.values()):
            parameter.data.normal_(std=0.3, generator=torch.Generator().manual_seed(place))
        world = world_of(family, bright, parameters, PROMPTS)
        _, after = pooled(world, OWN, Memory(), range(len(PROMPTS)), judged=1)
        assert torch.equal(after.clean, before.clean) and torch.equal(after.rewards, before.rewards)
