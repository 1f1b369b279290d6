"""Walks from a re-noising, against walking each row alone by hand."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.worker.sharpening.toy import LEVELS, SHAPE, Toy, Walk, coefficients, pleasant, renoise, settings, world
from worker.sharpening.trajectory import Trajectories, starts, walk_from
from worker.sharpening.world import Settings, World

OWN = settings(walk_steps=10, trajectory_length=3)
INDEX = torch.tensor([0, 6, 3, 0, 7, 6])
PROMPT = torch.tensor([2, 0, 1, 1, 3, 2])


def rows() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return (
        torch.randn((len(INDEX), *SHAPE), generator=draw, dtype=torch.float64),
        torch.randn((len(INDEX), *SHAPE), generator=draw),
    )


def walked(toy: Toy, own: Settings = OWN) -> Trajectories:
    return walk_from(world(toy), own, *rows(), INDEX, PROMPT)


class TestWalkFrom:
    def test_is_walking_each_row_alone(self) -> None:
        """Rows that stand at different places of the schedule share a call. The m states are those before each step, and
        a state's reward is that of the preview seen from it."""
        toy, sampler, found = Toy(), Walk(10), walked(Toy())
        for row, (clean, noise) in enumerate(zip(*rows(), strict=True)):
            where, first = PROMPT[row : row + 1], INDEX[row].item()
            x = renoise(clean.unsqueeze(0), noise.unsqueeze(0), torch.tensor([sampler.timesteps[first]]))
            for state in range(3):
                t = torch.tensor([sampler.timesteps[first + state]])
                assert found.t[row, state] == t
                torch.testing.assert_close(found.states[row, state], x[0])
                x, preview = sampler.step(toy.denoise(x, t, where, OWN.rollout_guidance), first + state, x)
                torch.testing.assert_close(found.rewards[row, state], pleasant(preview, where)[0].detach())

    def test_nothing_carries_a_gradient(self) -> None:
        toy = Toy()
        found = walked(toy)
        assert not found.states.requires_grad
        assert not found.rewards.requires_grad
        assert len(toy.rows) == len(INDEX) * 3
        assert not any(row.graded for row in toy.rows)

    def test_the_policy_walks_not_the_reference(self) -> None:
        toy = Toy()
        walked(toy)
        assert all(row.adapted for row in toy.rows)

    @pytest.mark.parametrize("micro_batch", [1, 2, 5])
    def test_the_micro_batch_changes_nothing(self, micro_batch: int) -> None:
        whole, parts = walked(Toy()), walked(Toy(), replace(OWN, micro_batch=micro_batch))
        assert torch.equal(parts.t, whole.t)
        torch.testing.assert_close(parts.states, whole.states, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(parts.rewards, whole.rewards, rtol=1e-12, atol=1e-12)


def silent_at_first(made: World) -> World:
    """Its schedule begins in pure noise: zero-terminal-SNR, and every flow model's."""

    def silent(t: Tensor) -> tuple[Tensor, Tensor]:
        signal, spread = coefficients(t)
        return torch.where(t.view(-1, 1, 1, 1) == LEVELS - 1, 0.0, signal), spread

    return replace(made, coefficients=silent)


class TestStarts:
    @pytest.mark.parametrize("least_noise", [0.0, 0.5, 0.75])
    @pytest.mark.parametrize("length", [1, 3, 5])
    def test_lie_where_m_steps_are_left_and_above_the_least_noise(self, least_noise: float, length: int) -> None:
        own = settings(walk_steps=20, trajectory_length=length, least_noise=least_noise)
        drawn = starts(world(Toy()), own, 0, 500)
        allowed = {
            index for index, t in enumerate(Walk(20).timesteps) if index + length <= 20 and t + 1 > least_noise * LEVELS
        }
        assert set(drawn.tolist()) == allowed

    def test_are_uniform(self) -> None:
        """Of 3,000 draws from 8 places each gets 375 ± 5 standard deviations."""
        counts = Counter(starts(world(Toy()), OWN, 0, 3000).tolist())
        assert set(counts) == set(range(8))
        assert all(abs(count - 375) < 5 * (375 * 7 / 8) ** 0.5 for count in counts.values())

    def test_are_a_function_of_seed_update_and_prompt(self) -> None:
        made = world(Toy())
        assert torch.equal(starts(made, OWN, 5, 9)[:4], starts(made, OWN, 5, 4))
        assert not torch.equal(starts(made, OWN, 5, 9), starts(made, OWN, 6, 9))
        assert not torch.equal(starts(made, OWN, 5, 9), starts(made, replace(OWN, seed=8), 5, 9))

    def test_no_walk_starts_in_pure_noise(self) -> None:
        """Such a state says nothing of the picture: candidates that share ε would be one, and no target leads back."""
        drawn = starts(silent_at_first(world(Toy())), OWN, 0, 500)
        assert set(drawn.tolist()) == set(range(1, 8))

    def test_a_walk_over_the_whole_schedule_starts_where_it_must(self) -> None:
        own = settings(walk_steps=4, trajectory_length=4)
        assert set(starts(silent_at_first(world(Toy())), own, 0, 9).tolist()) == {0}
