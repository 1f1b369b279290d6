"""DDPO by autograd on its Gaussians, and by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.worker.sharpening import brute
from tests.worker.sharpening.toy import Toy, Walk, pleasant, settings, world
from worker.sharpening.ddpo import Batch, advantages, ddpo_step, log_density, policy_gradient, rollouts
from worker.sharpening.rollout import candidate_seeds, noise, search
from worker.sharpening.update import Memory, Step
from worker.sharpening.world import Settings

OWN = settings(candidates=4, rollout_steps=5)
PROMPTS, NOISE_LEVEL, WIDE = 3, 1.0, 1e9


def stepped(toy: Toy, memory: Memory, update: int, *, own: Settings = OWN, clip: float = WIDE, shares: int = 2) -> Step:
    return ddpo_step(own, NOISE_LEVEL, clip, shares, world(toy), memory, update, range(PROMPTS))


def remembered(memory: Memory) -> Batch:
    return Batch(*(memory.tensors[f"batch/{name}"] for name in Batch.__slots__))


def log_policy(toy: Toy, batch: Batch, row: int, index: int) -> Tensor:
    """log π_θ(x_{t−1} | x_t) by torch's own Normal, averaged over elements."""
    sampler, x = Walk(OWN.rollout_steps), batch.states[row, index].unsqueeze(0)
    prediction = toy.denoise(
        x, torch.tensor([sampler.timesteps[index]]), torch.tensor([row // 4]), OWN.rollout_guidance
    )
    mean, std = sampler.stochastic(prediction, index, x, NOISE_LEVEL)
    return torch.distributions.Normal(mean, std).log_prob(batch.states[row, index + 1]).mean()


class TestDdpoStep:
    def test_in_the_first_share_the_gradient_is_the_policy_gradient(self) -> None:
        """The ratio is 1 there, and the gradient −A ∇ log π, averaged over steps (but the last) and rollouts."""
        toy = Toy()
        done = stepped(toy, Memory(), 0)
        batch = remembered(done.memory)
        gain = advantages(batch.rewards).view(-1)
        mine = [prompt * 4 + place for prompt in range(PROMPTS) for place in (0, 2)]
        terms = [-gain[row] * log_policy(toy, batch, row, index) for row in mine for index in range(4)]
        loss = torch.stack(terms).mean()
        assert brute.distance(done.gradient[0], brute.gradient(loss, toy)) < 1e-5
        assert done.metrics.loss == pytest.approx(-gain[mine].mean().item(), rel=1e-5)

    def test_in_a_later_share_it_is_weighted_by_the_ratio(self) -> None:
        """θ has moved since the batch was drawn: L = −A π_θ/π_old."""
        toy = Toy()
        memory = stepped(toy, Memory(), 0).memory
        batch = remembered(memory)
        mine = [prompt * 4 + place for prompt in range(PROMPTS) for place in (1, 3)]
        steps = [(row, index) for row in mine for index in range(4)]
        old = [log_policy(toy, batch, *step).detach() for step in steps]
        toy.theta.data += 0.01
        done = stepped(toy, memory, 1)
        gain = advantages(batch.rewards).view(-1)
        ratios = [(log_policy(toy, batch, *step) - before).exp() for step, before in zip(steps, old, strict=True)]
        assert max(abs(ratio.item() - 1) for ratio in ratios) > 1e-3
        loss = torch.stack([-gain[row] * ratio for (row, _), ratio in zip(steps, ratios, strict=True)]).mean()
        assert brute.distance(done.gradient[0], brute.gradient(loss, toy)) < 1e-4

    @pytest.mark.parametrize("shares", [1, 2, 3, 4])
    def test_the_shares_together_are_every_rollout_with_an_advantage_once(self, shares: int) -> None:
        """Each share's gradient is a mean over its rows; summed by their number they are that of the whole batch."""
        toy = Toy()
        batch = rollouts(world(toy), OWN, NOISE_LEVEL, 0, PROMPTS)
        memory, total, rows = Memory(), 0.0, 0
        for update in range(shares):
            toy.rows.clear()
            done = stepped(toy, memory, update, shares=shares)
            memory = done.memory
            mine = sum(row.graded for row in toy.rows) // 4
            total, rows = total + mine * done.gradient[0], rows + mine
        gain = advantages(batch.rewards).view(-1)
        (whole,), _ = policy_gradient(world(toy), OWN, NOISE_LEVEL, WIDE, batch, torch.arange(12), gain)
        assert rows == 12
        assert brute.distance(total / rows, whole) < 1e-9

    def test_a_batch_is_drawn_once_for_its_shares(self) -> None:
        toy, memory = Toy(), Memory()
        for update, drawn in ((0, True), (1, False), (2, True), (3, False)):
            toy.rows.clear()
            done = stepped(toy, memory, update)
            assert sum(not row.graded for row in toy.rows) == (PROMPTS * 4 * 5 if drawn else 0)
            assert sum(row.graded for row in toy.rows) == PROMPTS * 2 * 4
            assert (done.metrics.reward_mean is not None) == drawn
            memory = done.memory

    def test_a_remembered_batch_gives_the_numbers_of_one_just_drawn(self) -> None:
        """As a resume does: the second share from a copy of the memory, in another process's world."""
        toy = Toy()
        first = stepped(toy, Memory(), 0)
        copied = Memory(tensors={name: value.clone() for name, value in first.memory.tensors.items()})
        assert torch.equal(stepped(Toy(), copied, 1).gradient[0], stepped(toy, first.memory, 1).gradient[0])
        drawn = rollouts(world(Toy()), OWN, NOISE_LEVEL, 0, PROMPTS)
        for ours, theirs in zip((drawn.states, drawn.means, drawn.rewards), first.memory.tensors.values(), strict=True):
            assert torch.equal(ours, theirs)

    @pytest.mark.parametrize("shares", [1, 2, 3])
    def test_a_batch_that_has_had_its_last_share_is_not_remembered(self, shares: int) -> None:
        """It would be in every checkpoint: gigabytes, for large pictures."""
        memory, kept = Memory(), []
        for update in range(2 * shares):
            memory = stepped(Toy(), memory, update, shares=shares).memory
            kept.append(bool(memory.tensors))
        assert kept == [update % shares < shares - 1 for update in range(2 * shares)]

    def test_a_remembered_batchs_rewards_stay_on_the_cpu(self) -> None:
        """Not every device has float64. From the device of this world nothing comes back, so they cannot have been there."""
        same = {"batch/rewards": torch.ones(PROMPTS, 4, dtype=torch.float64)}
        memory = Memory(tensors={**stepped(Toy(), Memory(), 0).memory.tensors, **same})
        elsewhere = replace(world(Toy()), device=torch.device("meta"))
        done = ddpo_step(OWN, NOISE_LEVEL, WIDE, 2, elsewhere, memory, 1, range(PROMPTS))
        assert done.metrics.ties == PROMPTS

    @pytest.mark.parametrize("micro_batch", [1, 5, 7])
    def test_the_micro_batch_changes_nothing(self, micro_batch: int) -> None:
        whole, parts = (stepped(Toy(), Memory(), 0, own=replace(OWN, micro_batch=size)) for size in (64, micro_batch))
        torch.testing.assert_close(parts.gradient, whole.gradient, rtol=1e-5, atol=1e-8)
        assert parts.metrics.loss == pytest.approx(whole.metrics.loss, rel=1e-5)

    def test_a_prompt_whose_rollouts_are_worth_the_same_is_left_out(self) -> None:
        def reward(pictures: Tensor, prompt: Tensor) -> Tensor:
            return torch.where(prompt == 1, 0.5, pleasant(pictures, prompt))

        toy = Toy()
        done = ddpo_step(OWN, NOISE_LEVEL, WIDE, 1, world(toy, reward), Memory(), 0, range(PROMPTS))
        assert done.metrics.ties == 1
        assert {row.prompt for row in toy.rows if row.graded} == {0, 2}

    def test_a_world_of_ties_teaches_nothing(self) -> None:
        dull = world(Toy(), lambda pictures, prompt: torch.zeros(len(prompt)))
        done = ddpo_step(OWN, NOISE_LEVEL, WIDE, 1, dull, Memory(), 0, range(PROMPTS))
        assert done.gradient is None
        assert done.metrics.ties == PROMPTS


class TestClipping:
    """max(−Aρ, −A clip(ρ, 1 ± ε)): whoever has already gained more than ε by an advantage learns no more from it."""

    @pytest.mark.parametrize("advantage", [1.0, -1.0])
    @pytest.mark.parametrize("towards", [True, False])
    def test_the_gradient_stops_where_the_ratio_has_left_on_the_wrong_side(
        self, advantage: float, towards: bool
    ) -> None:
        toy = Toy()
        made = world(toy)
        batch = rollouts(made, OWN, NOISE_LEVEL, 0, 1)
        row, gain = torch.tensor([2]), torch.tensor([advantage])

        def gradient(clip: float) -> Tensor:
            return policy_gradient(made, OWN, NOISE_LEVEL, clip, batch, row, gain)[0][0]

        downhill = -gradient(WIDE)
        toy.theta.data += (1e-2 if towards else -1e-2) * downhill / downhill.norm()
        free, clipped = gradient(WIDE), gradient(1e-9)
        assert free.norm() > 1e-4
        moved = [self.ratio(toy, batch, index) for index in range(4)]
        stopped = [index for index in range(4) if (moved[index] - 1) * advantage > 1e-9]
        if towards:
            assert len(stopped) > 2
        else:
            assert len(stopped) < 2
        kept = [index for index in range(4) if index not in stopped]
        expected = torch.zeros_like(toy.theta)
        for index in kept:
            before = log_density(batch.states[row, index + 1], batch.means[row, index], self.spread(index))
            x = batch.states[row, index]
            t = torch.tensor([Walk(5).timesteps[index]])
            mean, _ = Walk(5).stochastic(toy.denoise(x, t, torch.tensor([0]), 2.0), index, x, NOISE_LEVEL)
            ratio = (log_density(batch.states[row, index + 1], mean, self.spread(index)) - before).exp()
            expected = expected + brute.gradient((-advantage * ratio).sum() / 4, toy)
        torch.testing.assert_close(clipped, expected, rtol=1e-4, atol=1e-8)

    @staticmethod
    def spread(index: int) -> Tensor:
        return Walk(5).stochastic(torch.zeros(1), index, torch.zeros(1), NOISE_LEVEL)[1]

    def ratio(self, toy: Toy, batch: Batch, index: int) -> float:
        now = log_policy(toy, batch, 2, index)
        before = torch.distributions.Normal(batch.means[2, index], self.spread(index)).log_prob(
            batch.states[2, index + 1]
        )
        return (now - before.mean()).exp().item()


class TestRollouts:
    def test_without_noise_the_walk_is_ddims(self) -> None:
        toy = Toy()
        batch = rollouts(world(toy), OWN, 1e-9, 3, PROMPTS)
        x = noise(world(toy), candidate_seeds(OWN, 3, PROMPTS).view(-1))
        torch.testing.assert_close(batch.states[:, 0], x, check_dtype=False)
        for index, t in enumerate(Walk(5).timesteps):
            prompt = torch.arange(PROMPTS).repeat_interleave(4)
            x, _ = Walk(5).step(toy.denoise(x, torch.full((12,), t), prompt, OWN.rollout_guidance).detach(), index, x)
            torch.testing.assert_close(batch.states[:, index + 1], x, atol=1e-6, rtol=1e-6, check_dtype=False)
        found = search(world(toy), OWN, candidate_seeds(OWN, 3, PROMPTS))
        torch.testing.assert_close(batch.rewards, found.rewards[..., 0], atol=1e-5, rtol=1e-5)

    def test_with_noise_each_step_is_a_draw_from_its_gaussian(self) -> None:
        """(x_{t−1} − mean)/std of all the draws together is standard normal."""
        batch = rollouts(world(Toy()), OWN, NOISE_LEVEL, 0, PROMPTS)
        draws = []
        for index in range(4):
            _, std = Walk(5).stochastic(batch.states[:, index], index, batch.states[:, index], NOISE_LEVEL)
            draws.append((batch.states[:, index + 1] - batch.means[:, index]) / std)
        drawn = torch.stack(draws).flatten()
        between = torch.corrcoef(torch.stack(draws, dim=1).view(12 * 4, 8)) - torch.eye(48)
        assert between.abs().max() < 0.99  # no rollout and no step has the noise of another
        assert abs(drawn.mean().item()) < 4 / len(drawn) ** 0.5
        assert abs(drawn.std().item() - 1) < 4 / (2 * len(drawn)) ** 0.5

    def test_chance_is_a_function_of_seed_update_prompt_and_place(self) -> None:
        few, many = (rollouts(world(Toy()), OWN, NOISE_LEVEL, 0, prompts) for prompts in (1, 3))
        torch.testing.assert_close(few.states, many.states[:4])
        other = rollouts(world(Toy()), OWN, NOISE_LEVEL, 1, 1)
        assert not torch.equal(other.states, few.states)


class TestAdvantages:
    def test_are_rewards_standardised_for_each_prompt(self) -> None:
        rewards = torch.tensor([[1.0, 2.0, 6.0], [100.0, 400.0, 100.0], [7.0, 7.0, 7.0]], dtype=torch.float64)
        found = advantages(rewards)
        expected = (rewards - rewards.mean(1, keepdim=True)) / rewards.std(dim=1, correction=0, keepdim=True)
        torch.testing.assert_close(found[:2], expected[:2])
        assert found[2].tolist() == [0, 0, 0]


class TestLogDensity:
    def test_differs_from_the_normals_by_a_constant(self) -> None:
        x, std = torch.randn(6, 2, 2, 2), torch.tensor(0.3)
        mean = torch.randn(6, 2, 2, 2)
        theirs = torch.distributions.Normal(mean, std).log_prob(x).flatten(1).mean(dim=1)
        gap = log_density(x, mean, std) - theirs
        torch.testing.assert_close(gap, gap[:1].expand_as(gap), atol=1e-4, rtol=1e-4)
