"""Where training breaks even with search: the base's best of N pictures under a reward, for as much as the adapter reaches."""

from math import comb

import numpy as np


def best_of(exact: np.ndarray, reward: np.ndarray, n: int) -> float:
    """Expected accuracy (or any other score) of the picture with the best reward among n, from a pool of M ≥ n a prompt:
    arrays [prompts, M].

    Exact over all subsets: the picture of rank i (0 = best) leads C(M − 1 − i, n − 1) of the C(M, n) subsets.
    """
    size = exact.shape[1]
    leads = np.array([comb(size - 1 - rank, n - 1) for rank in range(size)]) / comb(size, n)
    order = np.argsort(-reward, axis=1, kind="stable")
    return float((np.take_along_axis(exact, order, axis=1) * leads).sum(axis=1).mean())


def search_equal(exact: np.ndarray, reward: np.ndarray, goal: float) -> tuple[int | None, dict[str, float]]:
    """The smallest N of 2, 4, 8, … within the pool whose best-of-N reaches `goal`, and the accuracy at each N."""
    curve, found, n = {"1": float(exact.mean())}, None, 2
    while n <= exact.shape[1]:
        curve[str(n)] = best_of(exact, reward, n)
        if found is None and curve[str(n)] >= goal:
            found = n
        n *= 2
    return found, curve


def break_even(training_fe: float, best_of_n: int | None, nfe: float, gain: float) -> int | None:
    """Images after which training was cheaper than best-of-N at equal accuracy; None where nothing was gained."""
    if best_of_n is None or gain <= 0:
        return None
    return round(training_fe / ((best_of_n - 1) * nfe))
