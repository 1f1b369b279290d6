"""Verdicts survive being written, and are those of the service's own judges."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.compare.eyes import eyes
from benchmarks.compare.judging import from_bits, to_bits
from benchmarks.compare.preference import CARD, WEIGHTS, PreferenceReward, trained
from benchmarks.compare.rewards import Shuffled, reward_named
from benchmarks.compare.statistics import at_least, over_seeds, resampled, within
from benchmarks.compare.store import keep, read
from worker.evaluation.interval import bootstrap
from worker.shapes.render import render
from worker.shapes.scene import parse
from worker.shapes.splits import prompts


@pytest.fixture(scope="module")
def renders() -> tuple[torch.Tensor, list[str]]:
    texts = prompts("validation")[:12]
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([render(parse(text), rng) for text in texts])), texts


class TestBits:
    @pytest.mark.parametrize("count", [0, 1, 8, 1482])
    def test_come_back(self, count: int) -> None:
        exact = np.random.default_rng(count).integers(0, 2, count)
        assert (from_bits(to_bits(exact)) == exact).all()


class TestEyes:
    def test_score_as_the_reward_does(self, renders: tuple[torch.Tensor, list[str]]) -> None:
        pictures, texts = renders
        assert eyes().scores(eyes().see(pictures), texts).numpy() == pytest.approx(
            reward_named("clip")(pictures, texts).numpy(), abs=1e-5
        )


class TestPreference:
    def test_likes_what_is_right(self, renders: tuple[torch.Tensor, list[str]]) -> None:
        pictures, texts = renders
        turned = [parse(text).inverse.prompt for text in texts]
        flipped = [text.replace(" of ", " of ") for text in turned]  # the same scenes, said from the other side
        wrong = [texts[(row + 1) % len(texts)] for row in range(len(texts))]
        reward = PreferenceReward()
        right, other, said = (reward(pictures, some) for some in (texts, wrong, flipped))
        assert (right > other).float().mean() >= 0.9
        assert (said > other).float().mean() >= 0.8

    def test_card_is_of_these_weights(self) -> None:
        import hashlib
        import json

        card = json.loads(CARD.read_text())
        assert card["weights_sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
        assert card["parameters"] == sum(value.numel() for value in trained().parameters())
        assert WEIGHTS.stat().st_size < 1_000_000


class TestShuffled:
    def test_gives_the_same_scores_to_other_pictures_and_always_the_same_way(self) -> None:
        scores = torch.arange(50.0)
        shuffled = [Shuffled(lambda pictures, texts: scores)(torch.zeros(50), ["x"] * 50) for _ in range(2)]
        assert shuffled[0].equal(shuffled[1])
        assert not shuffled[0].equal(scores)
        assert shuffled[0].sort().values.equal(scores)


class TestStatistics:
    def test_one_seed_is_the_ordinary_bootstrap(self) -> None:
        values, texts = np.random.default_rng(0).random(60), [f"prompt {place % 20}" for place in range(60)]
        one, ordinary = over_seeds(values[None], texts), bootstrap(values.tolist(), texts)
        assert (one.mean, one.low, one.high) == pytest.approx((ordinary.mean, ordinary.low, ordinary.high))

    def test_the_interval_covers_what_is_true_where_seeds_share_their_base(self) -> None:
        """Three seeds and one base, all of one chance a prompt, so no gain: in 95 of 100 such worlds the interval has 0 in it."""
        rng, worlds, covered = np.random.default_rng(0), 300, 0
        texts = [f"prompt {place % 100}" for place in range(200)]
        for _ in range(worlds):
            chance = np.tile(rng.beta(0.6, 0.6, size=100), 2)
            drawn = (rng.random((4, 200)) < chance).astype(float)
            found = over_seeds(drawn[1:] - drawn[0], texts, resamples=1_000)
            covered += found.low <= 0 <= found.high
        assert 0.92 <= covered / worlds <= 0.98

    def test_prompts_drawn_again_for_any_statistic_are_those_of_the_mean(self) -> None:
        values, texts = np.random.default_rng(0).random(60), [f"prompt {place % 20}" for place in range(60)]
        ordinary = bootstrap(values.tolist(), texts, resamples=4_000)
        found = resampled(lambda weights: float(weights @ values), texts, resamples=4_000)
        assert found == pytest.approx((ordinary.low, ordinary.high), abs=2e-3)

    def test_what_is_never_reached_is_a_value_like_others(self) -> None:
        texts = [f"prompt {place}" for place in range(60)]
        low, high = resampled(lambda weights: np.inf if weights[0] else 1.0, texts)
        assert (low, high) == (1.0, np.inf)

    @pytest.mark.parametrize(
        ("one", "other", "word"), [(0.1 + 0.2, 0.3, True), (0.3, 0.1 + 0.2, True), (0.299, 0.3, False)]
    )
    def test_shares_are_compared_but_for_rounding(self, one: float, other: float, word: bool) -> None:
        assert at_least(one, other) is word

    def test_within_forgets_what_prompts_differ_by(self) -> None:
        a = np.random.default_rng(0).random((9, 5))
        assert within(a, a + np.arange(9)[:, None]) == pytest.approx(1)
        assert within(a, np.ones((9, 5))) == 0


class TestStore:
    def test_outcomes_of_another_base_are_not_read(self, tmp_path: Path) -> None:
        keep(tmp_path, "task", {"exact": 0.5})
        assert (read(tmp_path, "task") or {})["exact"] == 0.5
        path = tmp_path / "task.json"
        path.write_text(path.read_text().replace('"base_sha256":"', '"base_sha256":"0'))
        assert read(tmp_path, "task") is None
