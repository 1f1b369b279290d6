"""Verdicts survive being written, and are those of the service's own judges."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.compare.eyes import eyes
from benchmarks.compare.judging import from_bits, to_bits
from benchmarks.compare.preference import CARD, WEIGHTS, PreferenceReward, trained
from benchmarks.compare.rewards import Shuffled, reward_named
from benchmarks.compare.statistics import over_seeds, within
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

    def test_seeds_narrow_the_interval_by_their_root(self) -> None:
        values, texts = np.random.default_rng(0).random((4, 200)), [f"prompt {place}" for place in range(200)]
        one, four = over_seeds(values[:1], texts), over_seeds(values, texts)
        assert (four.high - four.low) * 2 == pytest.approx(one.high - one.low, rel=0.1)

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
