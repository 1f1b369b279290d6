"""Search finds what the reward likes, pays for what it draws, and mixes no prompts."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from worker.evaluation.draw import draw
from worker.evaluation.search import Ask, best_of, noise_back, path_search, zero_order
from worker.models.sd import StableDiffusion

PROMPTS, SEEDS, STEPS = ["a red circle", "a blue cross"], [3, 4], 6


def brightness(pictures: Tensor, prompts: Sequence[str]) -> Tensor:
    return pictures.float().flatten(1).mean(dim=1)


@pytest.fixture
def ask(family: StableDiffusion) -> Ask:
    return Ask(family, brightness, PROMPTS, SEEDS, guidance=1.0, steps=STEPS)


class TestBestOf:
    def test_is_the_best_of_each_run_of_the_pool(self) -> None:
        rewards = np.array([[1, 5, 2, 9, 0, 3, 8, 7]])
        assert best_of(rewards, 2).tolist() == [[1, 3, 5, 6]]
        assert best_of(rewards, 4).tolist() == [[3, 6]]
        assert best_of(rewards, 8).tolist() == [[3]]

    def test_is_nested(self) -> None:
        rewards = np.random.default_rng(0).random((5, 32))
        rows = np.arange(5)[:, None]
        eights = best_of(rewards, 8)
        assert (rewards[rows, best_of(rewards, 32)] == rewards[rows, eights].max(axis=1, keepdims=True)).all()


class TestZeroOrder:
    def test_the_first_round_is_best_of_n(self, ask: Ask) -> None:
        once, more = (zero_order(ask, candidates=3, rounds=rounds) for rounds in (1, 3))
        assert (more.rewards >= once.rewards).all()
        assert (more.rewards > once.rewards).any()

    def test_the_reward_is_that_of_the_picture(self, ask: Ask) -> None:
        found = zero_order(ask, candidates=3, rounds=2)
        assert found.rewards == pytest.approx(brightness(torch.from_numpy(found.pictures), PROMPTS).numpy())

    def test_neighbours_at_no_distance_are_the_pivot(self, ask: Ask) -> None:
        once = zero_order(ask, candidates=3, rounds=1)
        still = zero_order(ask, candidates=3, rounds=2, radius=0.0)
        assert np.abs(still.pictures.astype(int) - once.pictures).max() <= 1  # another batch rounds otherwise

    @pytest.mark.parametrize(("guidance", "of_a_step"), [(1.0, 1), (3.0, 2)])
    def test_every_picture_drawn_is_paid_for(self, family: StableDiffusion, guidance: float, of_a_step: int) -> None:
        found = zero_order(Ask(family, brightness, PROMPTS, SEEDS, guidance, STEPS), candidates=3, rounds=2)
        assert found.nfe == 3 * 2 * STEPS * of_a_step

    def test_a_prompt_finds_the_same_alone(self, family: StableDiffusion, ask: Ask) -> None:
        alone = zero_order(Ask(family, brightness, PROMPTS[1:], SEEDS[1:], 1.0, STEPS), candidates=3, rounds=2)
        both = zero_order(ask, candidates=3, rounds=2)
        assert alone.rewards == pytest.approx(both.rewards[1:], abs=0.05)


class TestPathSearch:
    def test_beats_a_plain_drawing(self, ask: Ask) -> None:
        found = path_search(ask, paths=2, branches=4, start=2, back=1, ahead=2)
        plain = draw(ask.family, PROMPTS * 8, list(range(16)), guidance=1.0, steps=STEPS).pictures
        assert found.rewards.mean() > brightness(torch.from_numpy(plain), PROMPTS * 8).mean()
        assert found.rewards == pytest.approx(brightness(torch.from_numpy(found.pictures), PROMPTS).numpy())

    def test_every_step_is_paid_for(self, ask: Ask) -> None:
        """To state 2: 2 paths. Then from 1 to 3, 2 to 4, 3 to 5 and 4 to 6: 2 steps of 2 x 4 branches each."""
        assert path_search(ask, paths=2, branches=4, start=2, back=1, ahead=2).nfe == 2 * 2 + 4 * 2 * 8

    def test_a_prompt_finds_the_same_alone(self, family: StableDiffusion, ask: Ask) -> None:
        how = {"paths": 2, "branches": 2, "start": 2, "back": 1, "ahead": 2}
        alone = path_search(Ask(family, brightness, PROMPTS[1:], SEEDS[1:], 1.0, STEPS), **how)
        assert alone.rewards == pytest.approx(path_search(ask, **how).rewards[1:], abs=0.05)

    def test_a_walk_that_goes_nowhere_is_refused(self, ask: Ask) -> None:
        with pytest.raises(ValueError, match="0 < back"):
            path_search(ask, back=2, ahead=2)


class TestNoiseBack:
    def test_has_the_marginal_of_the_noisier_level(self, family: StableDiffusion, ask: Ask) -> None:
        """x_i = a_i x_0 + b_i e, noised back to o, is a_o x_0 + b_o e: same mean and spread as the forward process."""
        index, origin, count = 4, 1, 400
        times = [torch.tensor([family.sampler(STEPS).timesteps[place]]) for place in (index, origin)]
        clean = torch.full((2 * count, *family.latent_shape), 0.7)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        back = noise_back(ask, family.renoise(clean, noise, times[0]), index, origin, turn=1)
        direct = family.renoise(clean, noise, times[1])
        assert back.mean().item() == pytest.approx(direct.mean().item(), abs=0.01)
        assert back.std().item() == pytest.approx(direct.std().item(), rel=0.01)
