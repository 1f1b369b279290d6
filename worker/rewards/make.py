"""From the recipe's word to the function. A new reward: a class in `service.domain.rewards`, a file and a case here."""

from pathlib import Path
from typing import assert_never

import torch

from service.domain.rewards import ClipReward, JpegCompressibilityReward, SceneReward
from service.domain.rewards import Reward as Recipe
from worker.rewards.reward import Checked, Reward


def make(reward: Recipe, *, folder: Path | None = None, device: torch.device | str = "cpu") -> Reward:
    """`folder`: where the reward's model lies, for those that have one. Raises JobFailure `reward_unloadable`.

    Modules are imported here, so that a job loads what its own reward needs.
    """
    match reward:
        case ClipReward():
            from worker.rewards.clip import Clip

            if folder is None:
                raise ValueError(f"the folder of the reward model {reward.model} is needed")
            return Checked(reward.type, Clip(folder, torch.device(device)))
        case SceneReward():
            from worker.rewards.scene import SceneOracle

            return Checked(reward.type, SceneOracle(exact=reward.exact))
        case JpegCompressibilityReward():
            from worker.rewards.jpeg import JpegCompressibility

            return Checked(reward.type, JpegCompressibility(reward.quality))
        case _:
            assert_never(reward)
