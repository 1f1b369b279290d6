"""Intervals against the textbook and by coverage."""

import numpy as np
import pytest

from worker.evaluation.interval import bootstrap, paired_gain

NAMES = [f"prompt {number}" for number in range(400)]


class TestBootstrap:
    def test_is_the_normal_interval_for_many_independent_pictures(self) -> None:
        values = np.random.default_rng(0).normal(0.3, 2.0, 400)
        interval = bootstrap(values, NAMES)
        half = 1.96 * values.std() / 20
        assert interval.mean == pytest.approx(values.mean())
        assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)

    def test_repeated_pictures_of_a_prompt_give_no_certainty(self) -> None:
        values = np.random.default_rng(1).integers(0, 2, 100)
        once = bootstrap(values, NAMES[:100])
        often = bootstrap(np.repeat(values, 9), np.repeat(NAMES[:100], 9))
        assert often.high - often.low == pytest.approx(once.high - once.low)

    def test_covers_the_truth_about_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(2)
        intervals = [bootstrap(rng.random(100) < 0.4, NAMES[:100], resamples=500) for _ in range(300)]
        assert 0.90 <= np.mean([one.low <= 0.4 <= one.high for one in intervals]) <= 0.99


class TestPairedGain:
    def test_what_both_share_cancels(self) -> None:
        hard = np.random.default_rng(3).random(400)
        gain = paired_gain(hard, hard + 0.1, NAMES)
        assert (gain.mean, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))
