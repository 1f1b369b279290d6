"""The rewards that rows are trained on, or searched under, as the loop takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.compare.preference import PreferenceReward
from benchmarks.compare.world import CLIP
from service.domain.rewards import ClipReward, SceneReward
from worker.rewards.make import make
from worker.rewards.reward import Checked, Reward


class Shuffled:
    """The control: the right scores, given to the wrong pictures of the same call.

    The order is drawn from the scores themselves, so that a training that was stopped goes on as if it had not been.
    """

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def __call__(self, pictures: Tensor, texts: Sequence[str]) -> Tensor:
        scores = self._reward(pictures, texts)
        seed = int.from_bytes(hashlib.sha256(scores.numpy().tobytes()).digest()[:8], "big") >> 1
        return scores[torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))]


def reward_named(name: str) -> Reward:
    """clip, scene, preference or shuffled (the CLIP's)."""
    if name == "scene":
        return make(SceneReward(type="scene"))
    if name == "preference":
        return Checked("preference", PreferenceReward())
    clip = make(ClipReward(type="clip", model="shapes-clip"), folder=CLIP)
    if name == "shuffled":
        return Shuffled(clip)
    if name != "clip":
        raise ValueError(f'"{name}" is no reward of the comparison: use clip, scene, preference or shuffled')
    return clip
