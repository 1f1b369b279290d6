"""Ratios of quantiles and their intervals, where the answer is known."""

import numpy as np
import pytest

from benchmarks.queue.statistics import ratio, row


def test_of_a_series_and_its_multiple_is_the_factor() -> None:
    series = np.random.default_rng(1).gamma(4.0, 2.0, 400)
    for quantile in (0.5, 0.99):
        found, low, high = ratio(3 * series, series, quantile)
        assert found == pytest.approx(3)
        assert low < 3 < high


def test_the_interval_shrinks_with_the_rounds() -> None:
    chance = np.random.default_rng(2)
    widths = []
    for rounds in (30, 3000):
        _, low, high = ratio(chance.gamma(4, 2, rounds), chance.gamma(4, 2, rounds), 0.5)
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_a_row_says_whether_its_goal_is_met() -> None:
    met = row("x", [0.002] * 9, [0.002] * 9, 0.5, 1.5)
    assert (met["ours_ms"], met["bare_ms"], met["ratio"], met["met"]) == (2.0, 2.0, 1.0, True)
    assert not row("x", [0.004] * 9, [0.002] * 9, 0.5, 1.5)["met"]
