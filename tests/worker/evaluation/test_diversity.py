"""Diversity is a distance within prompts, blind to the distance between them."""

import itertools

import numpy as np
import pytest

from worker.evaluation.diversity import diversity


class TestDiversity:
    def test_is_the_mean_over_pairs(self) -> None:
        vectors = np.random.default_rng(0).normal(size=(4, 5))
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        pairs = [1 - float(a @ b) for a, b in itertools.combinations(unit, 2)]
        assert diversity(vectors, ["a"] * 4) == pytest.approx(np.mean(pairs))

    def test_one_picture_again_and_again_has_none(self) -> None:
        assert diversity(np.ones((3, 2)), ["a"] * 3) == pytest.approx(0)

    def test_prompts_count_alike_and_do_not_meet(self) -> None:
        vectors = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [1, 0], [-1, 0]])
        assert diversity(vectors, ["a", "a", "b", "b", "b", "alone"]) == pytest.approx(0.5)

    def test_is_unknown_where_no_prompt_has_two_pictures(self) -> None:
        assert diversity(np.eye(3), ["a", "b", "c"]) is None
