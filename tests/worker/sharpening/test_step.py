"""The identities of one update, by brute force in a world of eight numbers."""

import math

import pytest
import torch
from torch import Tensor

from tests.worker.sharpening import brute
from tests.worker.sharpening.toy import SHAPE, Toy, Walk, pleasant, renoise, rugged, settings, world
from worker.sharpening.beta import Beta
from worker.sharpening.comparison import compare, reference_errors, renoised
from worker.sharpening.rng import generator
from worker.sharpening.rollout import Candidates, candidate_seeds, noise, search
from worker.sharpening.selection import preferred
from worker.sharpening.step import candidates, rejudged, step
from worker.sharpening.trajectory import starts
from worker.sharpening.update import Memory

BETA = Memory(Beta(value=3.0, fixed=True))


class TestStep:
    def test_the_logit_is_zero_at_the_reference(self) -> None:
        metrics = step(settings(), world(Toy(theta=0.0)), BETA, 0, range(3)).metrics
        assert metrics.loss == pytest.approx(math.log(2))
        assert metrics.preference == 0

    def test_the_gradient_is_that_which_keeps_every_graph(self) -> None:
        toy = Toy()
        found = search(world(toy), settings(), candidate_seeds(settings(), 4, 3), judged=2)
        loss = brute.preference(toy, settings(), 4, found.clean, brute.pair(found.scores), BETA.beta.value)
        (gradient,) = step(settings(), world(toy), BETA, 4, range(3)).gradient
        assert brute.distance(gradient, brute.gradient(loss, toy)) < 1e-5

    def test_the_guided_prediction_may_be_what_is_compared(self) -> None:
        toy, own = Toy(), settings(loss_guidance=4.0)
        found = search(world(toy), own, candidate_seeds(own, 4, 3), judged=2)
        loss = brute.preference(toy, own, 4, found.clean, brute.pair(found.scores), BETA.beta.value)
        (gradient,) = step(own, world(toy), BETA, 4, range(3)).gradient
        assert brute.distance(gradient, brute.gradient(loss, toy)) < 1e-5
        (conditional,) = step(settings(), world(toy), BETA, 4, range(3)).gradient
        assert brute.distance(gradient, conditional) > 0.01

    def test_no_gradient_reaches_an_unchosen_trajectory(self) -> None:
        toy = Toy()
        found = search(world(toy), settings(), candidate_seeds(settings(), 0, 2))
        clean = found.clean.clone().requires_grad_()
        pairs = preferred(found.scores, found.seeds)
        states = renoised(world(toy), settings(), 0, clean, pairs)
        (reached,) = torch.autograd.grad(states.clean.square().sum(), clean)
        chosen = torch.zeros(2, 5, dtype=torch.bool)
        chosen[pairs.prompt, pairs.place[:, 0]] = True
        chosen[pairs.prompt, pairs.place[:, 1]] = True
        assert torch.equal(reached.flatten(2).abs().sum(dim=2) > 0, chosen)

    def test_only_the_pairs_are_differentiated(self) -> None:
        toy = Toy()
        step(settings(), world(toy), BETA, 0, range(3))
        assert sum(row.graded for row in toy.rows) == 3 * 2 * settings().levels

    @pytest.mark.parametrize("micro_batch", [1, 2, 7])
    def test_the_micro_batch_changes_nothing(self, micro_batch: int) -> None:
        whole = step(settings(), world(Toy()), Memory(), 2, range(3))
        parts = step(settings(micro_batch=micro_batch), world(Toy()), Memory(), 2, range(3))
        torch.testing.assert_close(parts.gradient, whole.gradient, rtol=1e-6, atol=1e-9)
        assert parts.metrics.loss == pytest.approx(whole.metrics.loss)
        assert parts.memory.beta.value == pytest.approx(whole.memory.beta.value)

    def test_prompts_do_not_mix(self) -> None:
        def first_only(pictures: Tensor, prompt: Tensor) -> Tensor:
            return torch.where(prompt == 0, pleasant(pictures, prompt), 1e3 + pictures.flatten(1)[:, 1])

        alone = search(world(Toy()), settings(), candidate_seeds(settings(), 0, 1))
        beside = search(world(Toy(), first_only), settings(), candidate_seeds(settings(), 0, 2))
        one, two = (preferred(found.scores, found.seeds) for found in (alone, beside))
        assert torch.equal(one.place[0], two.place[0])

    def test_a_world_of_ties_teaches_nothing(self) -> None:
        dull = world(Toy(), lambda pictures, prompt: torch.zeros(len(prompt)))
        done = step(settings(), dull, BETA, 0, range(3))
        assert done.gradient is None
        assert (done.metrics.ties, done.metrics.loss) == (3, None)

    def test_a_step_along_the_gradient_prefers_the_best(self) -> None:
        toy = Toy(theta=0.0)
        before = step(settings(), world(toy), BETA, 0, range(3))
        toy.theta.data -= 1e-6 * before.gradient[0]
        found = search(world(Toy(theta=0.0)), settings(), candidate_seeds(settings(), 0, 3))
        loss = brute.preference(toy, settings(), 0, found.clean, brute.pair(found.scores), BETA.beta.value)
        assert loss < math.log(2)


class TestPathWeights:
    def test_towards_temperature_zero_the_gradient_is_that_of_argmax(self) -> None:
        (sharp,) = step(settings(), world(Toy()), BETA, 3, range(3)).gradient
        (weighted,) = step(settings(temperature=1e-3), world(Toy()), BETA, 3, range(3)).gradient
        assert brute.distance(weighted, sharp) <= 1e-6

    @pytest.mark.parametrize("temperature", [0.3, 1.0, 10.0])
    def test_the_gradient_is_the_weighted_sum_over_all_candidates(self, temperature: float) -> None:
        toy, own = Toy(), settings(temperature=temperature)
        found = search(world(toy), own, candidate_seeds(own, 3, 3), judged=2)
        weight = brute.path_weights(found.scores, temperature)
        loss = brute.preference(toy, own, 3, found.clean, weight, BETA.beta.value)
        (gradient,) = step(own, world(toy), BETA, 3, range(3)).gradient
        assert brute.distance(gradient, brute.gradient(loss, toy)) < 1e-5


class TestRejudged:
    def test_scores_are_those_of_walking_each_picture_by_hand_with_a_prompts_t_and_noise_shared(self) -> None:
        toy, own = Toy(), settings(states="renoised", walk_steps=10, trajectory_length=3)
        clean = search(world(toy), own, candidate_seeds(own, 2, 3), judged=0).clean
        begun, sampler = starts(world(toy), own, 2, 3), Walk(10)
        rewards = rejudged(world(toy), own, 2, clean)
        assert rewards.shape == (3, 5, 3)
        for prompt, place in [(prompt, place) for prompt in range(3) for place in range(5)]:
            where, first = torch.tensor([prompt]), begun[prompt].item()
            noise = torch.randn(SHAPE, generator=generator(own.seed, 2, prompt, "walk")).unsqueeze(0)
            x = renoise(clean[prompt, place].unsqueeze(0), noise, torch.tensor([sampler.timesteps[first]]))
            for state in range(3):
                t = torch.tensor([sampler.timesteps[first + state]])
                x, preview = sampler.step(toy.denoise(x, t, where, own.rollout_guidance), first + state, x)
                torch.testing.assert_close(rewards[prompt, place, state], pleasant(preview, where)[0].detach())

    def test_the_best_and_the_worst_of_these_scores_are_compared(self) -> None:
        toy, own = Toy(), settings(states="renoised", walk_steps=10, trajectory_length=3)
        found = candidates(world(toy, rugged), own, 2, 3)
        loss = brute.preference(toy, own, 2, found.clean, brute.pair(found.rewards.sum(dim=-1)), BETA.beta.value)
        (gradient,) = step(own, world(toy, rugged), BETA, 2, range(3)).gradient
        assert brute.distance(gradient, brute.gradient(loss, toy)) < 1e-5

    def test_the_rollouts_own_previews_are_not_judged(self) -> None:
        """Each picture costs m decodes, not m + one of its rollout."""
        judged = []

        def counting(pictures: Tensor, prompt: Tensor) -> Tensor:
            judged.append(len(prompt))
            return pleasant(pictures, prompt)

        candidates(world(Toy(), counting), settings(states="renoised", walk_steps=10, trajectory_length=3), 2, 3)
        assert sum(judged) == 3 * 5 * 3


class TestCompare:
    def test_equal_candidates_give_log_2(self) -> None:
        """Whatever θ is: t and ε are shared, so equal pictures have equal errors."""
        toy = Toy(theta=0.5)
        found = search(world(toy), settings(), candidate_seeds(settings(), 0, 3))
        same = Candidates(found.seeds, found.clean[:, :1].expand_as(found.clean), found.rewards)
        states = renoised(world(toy), settings(), 0, same.clean, preferred(same.scores, same.seeds))
        reference = reference_errors(world(toy), settings(), states)
        compared = compare(world(toy), settings(), states, reference, beta=3.0)
        torch.testing.assert_close(compared.loss, torch.full_like(compared.loss, math.log(2)))
        assert compared.gradient[0].abs().max() < 1e-6


class TestRollout:
    def test_a_candidate_is_judged_on_its_last_m_previews(self) -> None:
        """By brute force: walk each seed alone, keep every state, sum by hand."""
        toy, own = Toy(), settings(trajectory_length=3)
        seeds = candidate_seeds(own, 0, 2)
        sums = torch.zeros(2, 5, dtype=torch.float64)
        for prompt, place in [(p, c) for p in range(2) for c in range(5)]:
            place_seeds, where = seeds[prompt, place].view(1), torch.tensor([prompt])
            x, walk = noise(world(toy), place_seeds), world(toy).sampler(4)
            previews = []
            for index, t in enumerate(walk.timesteps):
                x, preview = walk.step(toy.denoise(x, torch.tensor([t]), where, own.rollout_guidance), index, x)
                previews.append(preview)
            sums[prompt, place] = sum(pleasant(preview, where).item() for preview in previews[-3:])
        found = search(world(toy), own, seeds, judged=3)
        torch.testing.assert_close(found.scores, sums)
        pairs = preferred(found.scores, seeds)
        assert pairs.place[:, 0].tolist() == sums.argmax(dim=1).tolist()
        assert pairs.place[:, 1].tolist() == sums.argmin(dim=1).tolist()

    def test_seeds_are_a_function_of_seed_update_prompt_and_place(self) -> None:
        many = [candidate_seeds(settings(seed=seed), update, 3) for seed in (0, 1) for update in (0, 1)]
        assert len(set(torch.stack(many).flatten().tolist())) == 2 * 2 * 3 * 5
        assert torch.equal(many[0], candidate_seeds(settings(seed=0), 0, 3))
        assert torch.equal(many[0][:2], candidate_seeds(settings(seed=0), 0, 2))


def test_pairs_are_compared_only_above_the_least_noise_one_in_each_part_of_what_is_left() -> None:
    own = settings(least_noise=0.7, levels=3)
    made = world(Toy())
    found = search(made, own, candidate_seeds(own, 0, 4))
    t = renoised(made, own, 0, found.clean, preferred(found.scores, found.seeds)).t.view(-1, 3)
    edges = (70, 80, 90, 100)
    assert all(
        ((low <= column) & (column < high)).all() for low, high, column in zip(edges, edges[1:], t.T, strict=False)
    )
