"""Scores of drawn pictures: by a reward, and, in the small world, by the exact oracle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from worker.rewards.reward import Reward
from worker.shapes.oracle import judge
from worker.shapes.scene import parse

BATCH = 128


@dataclass(frozen=True, slots=True)
class SceneScores:
    """What the oracle says, one entry for each picture, 0 to 1: everything right, the smooth score, and its parts."""

    exact: np.ndarray
    partial: np.ndarray
    colour: np.ndarray
    shape: np.ndarray
    relation: np.ndarray


def judge_scenes(pictures: np.ndarray, prompts: Sequence[str]) -> SceneScores:
    """pictures uint8 [B, 64, 64, 3]."""
    seen = [judge(picture, parse(prompt)) for picture, prompt in zip(pictures, prompts, strict=True)]
    parts = (np.array([getattr(one, part) for one in seen], dtype=float) for part in SceneScores.__slots__)
    return SceneScores(*parts)


def rewards_of(reward: Reward, pictures: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
    """float32 [B]"""
    parts = [slice(start, start + BATCH) for start in range(0, len(prompts), BATCH)]
    return torch.cat([reward(torch.from_numpy(pictures[part]), prompts[part]) for part in parts]).numpy()
