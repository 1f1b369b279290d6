"""Scores come in the order of the pictures."""

import numpy as np
import torch

from worker.evaluation.score import BATCH, judge_scenes, rewards_of
from worker.shapes.render import render
from worker.shapes.scene import parse

RIGHT, WRONG = "a red circle left of a blue square", "a blue square left of a red circle"


class TestJudgeScenes:
    def test_each_picture_by_its_own_prompt(self) -> None:
        picture = np.array(render(parse(RIGHT), np.random.default_rng(0)))
        scores = judge_scenes(np.stack([picture, picture]), [WRONG, RIGHT])
        assert scores.exact.tolist() == [0.0, 1.0]
        assert scores.relation.tolist() == [0.0, 1.0]


class TestRewardsOf:
    def test_batches_keep_the_order(self) -> None:
        pictures = np.arange(BATCH + 5, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
        scores = rewards_of(lambda some, prompts: some.flatten(1)[:, 0].float(), pictures, ["x"] * len(pictures))
        assert scores.tolist() == torch.arange(BATCH + 5).tolist()
