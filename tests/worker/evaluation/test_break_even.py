"""Best-of-N and break-even against brute force."""

from itertools import combinations

import numpy as np
import pytest

from worker.evaluation.break_even import best_of, break_even, search_equal


def brute(exact: np.ndarray, reward: np.ndarray, n: int) -> float:
    means = []
    for right, score in zip(exact, reward, strict=True):
        subsets = list(combinations(range(len(score)), n))
        means.append(np.mean([right[max(subset, key=lambda i: score[i])] for subset in subsets]))
    return float(np.mean(means))


@pytest.fixture
def pool() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.random((5, 7)) < 0.5).astype(float), rng.random((5, 7))


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_best_of_n_is_the_mean_over_every_subset(pool: tuple[np.ndarray, np.ndarray], n: int) -> None:
    assert best_of(*pool, n) == pytest.approx(brute(*pool, n))


def test_search_needs_the_smallest_power_of_two_that_reaches_the_goal() -> None:
    reward = np.tile(np.arange(8.0), (3, 1))
    exact = np.zeros((3, 8))
    exact[:, -1] = 1.0  # only the highest-scoring picture is right: best-of-N is right in N of 8 draws
    assert search_equal(exact, reward, 0.5)[0] == 4
    assert search_equal(exact, reward, 1.1)[0] is None


def test_training_breaks_even_when_search_has_spent_as_much() -> None:
    assert break_even(training_fe=60_000, best_of_n=4, nfe=20, gain=0.1) == 1000


@pytest.mark.parametrize(("n", "gain"), [(None, 0.1), (2, 0.0), (2, -0.1)])
def test_nothing_gained_never_breaks_even(n: int | None, gain: float) -> None:
    assert break_even(60_000, n, 20, gain) is None
