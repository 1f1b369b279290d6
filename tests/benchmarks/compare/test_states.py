"""What the study of states reckons with."""

import numpy as np
import pytest

from benchmarks.compare.states import GROUP, STEPS, learned, picked, rules
from benchmarks.compare.statistics import within


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


class TestLearned:
    def test_finds_the_one_column_that_tells(self, rng: np.random.Generator) -> None:
        columns = rng.normal(size=(40, 16, 3))
        truth = columns[..., 1] + 0.1 * rng.normal(size=(40, 16))
        assert within(learned(columns, truth), truth) > 0.98

    def test_takes_away_what_two_columns_share(self, rng: np.random.Generator) -> None:
        """A control variate: the second column is the first one's noise, and of no use alone."""
        truth, noise = rng.normal(size=(2, 60, 16))
        columns = np.stack([truth + 2 * noise, noise], axis=-1)
        assert within(columns[..., 0], truth) < 0.6
        assert within(learned(columns, truth), truth) > 0.95

    def test_gains_nothing_from_chance(self, rng: np.random.Generator) -> None:
        columns, truth = rng.normal(size=(300, 16, 8)), rng.normal(size=(300, 16))
        assert within(learned(columns, truth), truth) < 0.05

    def test_sees_nothing_of_the_difference_between_prompts(self, rng: np.random.Generator) -> None:
        columns, truth = rng.normal(size=(20, 16, 2)), rng.normal(size=(20, 16))
        moved = columns + 5 * rng.normal(size=(20, 1, 2))
        found, again = learned(columns, truth), learned(moved, truth + 3 * rng.normal(size=(20, 1)))
        assert np.allclose(found, again)


class TestPicked:
    @pytest.mark.parametrize("sign", [1, -1])
    def test_best_and_worst_are_those_of_each_group(self, sign: int) -> None:
        truth = np.arange(2 * 2 * GROUP, dtype=float).reshape(2, 2 * GROUP)
        high, low = picked(sign * truth, truth)[::sign]
        assert (high - low == GROUP - 1).all() and low[0, 0] == 0


class TestRules:
    def test_the_last_state_is_the_picture(self, rng: np.random.Generator) -> None:
        states, exact = rng.normal(size=(4, 16, STEPS)), rng.integers(0, 2, size=(4, 16)).astype(float)
        walks = {level: rng.normal(size=(4, 16, STEPS - level)) for level in (1, 4)}
        found = rules(states, walks, exact)
        assert np.array_equal(found["the picture alone"], states[..., -1])
        assert np.allclose(found["sum of the last 2 states"], states[..., -1] + found[f"state {STEPS - 1} alone"])
