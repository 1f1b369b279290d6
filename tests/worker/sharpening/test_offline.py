"""Methods that learn from a fixed set: the set is fixed, paid once, and learned from by the ordinary losses."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.worker.sharpening import brute
from tests.worker.sharpening.toy import SHAPE, Toy, pleasant, renoise, settings, world
from worker.sharpening.beta import Beta
from worker.sharpening.objective import error
from worker.sharpening.offline import diffusion_dpo_step, plain_sft_step
from worker.sharpening.pool import pooled, seeds
from worker.sharpening.rollout import search
from worker.sharpening.update import Memory
from worker.sharpening.world import Settings, World

OWN = settings(candidates=4)
BETA = Memory(Beta(value=3.0, fixed=True))
DRAWN = 4 * OWN.rollout_steps
"""Denoiser rows that a prompt's pictures cost."""


def job_world(toy: Toy, places: Sequence[int]) -> World:
    """The update's world of a job: its row i is the prompt at `places[i]` of the job's list."""
    made, words = world(toy), torch.tensor(places)

    def denoise(latents: Tensor, t: Tensor, prompt: Tensor, guidance: float) -> Tensor:
        return toy.denoise(latents, t, words[prompt], guidance)

    return replace(made, denoise=denoise, reward=lambda pictures, prompt: pleasant(pictures, words[prompt]))


def pool_of(orders: Sequence[Sequence[int]], own: Settings = OWN) -> dict[str, Tensor]:
    """What is remembered after updates on these prompts."""
    memory = Memory()
    for places in orders:
        memory, _ = pooled(job_world(Toy(), places), own, memory, places, judged=1)
    return dict(memory.tensors)


class TestPooled:
    def test_is_a_function_of_the_prompts_place_whatever_the_order_and_company(self) -> None:
        one, other = pool_of([[4, 1], [7]]), pool_of([[7, 9, 1], [2], [1, 4]])
        for name in ("pool/1", "pool/4", "pool/7", "pool-rewards/1", "pool-rewards/4", "pool-rewards/7"):
            torch.testing.assert_close(one[name], other[name], rtol=1e-12, atol=1e-12)

    def test_depends_on_the_seed_and_differs_between_prompts_and_candidates(self) -> None:
        here, there = pool_of([[1, 2]]), pool_of([[1, 2]], replace(OWN, seed=8))
        rows = torch.cat([pool[f"pool/{place}"].flatten(1) for pool in (here, there) for place in (1, 2)])
        assert len(rows.unique(dim=0)) == 2 * 2 * 4
        starts = [seeds(own, place) for own in (OWN, replace(OWN, seed=8)) for place in (1, 2)]
        assert len(torch.cat(starts).unique()) == 2 * 2 * 4

    def test_the_reference_draws_and_each_picture_is_paid_for_once(self) -> None:
        toy, memory = Toy(), Memory()
        for places, paid in (([4, 1], 2), ([1, 4], 2), ([4, 7], 3), ([7, 1], 3)):
            memory, _ = pooled(job_world(toy, places), OWN, memory, places, judged=1)
            assert len(toy.rows) == paid * DRAWN
        assert not any(row.adapted or row.graded for row in toy.rows)

    def test_a_prompt_that_an_update_uses_twice_is_paid_for_once(self) -> None:
        """Where one round of the list ends and the next begins, or the list is shorter than an update."""
        toy = Toy()
        _, found = pooled(job_world(toy, [3, 5, 3]), OWN, Memory(), [3, 5, 3], judged=1)
        assert len(toy.rows) == 2 * DRAWN
        assert torch.equal(found.clean[0], found.clean[2])
        assert not torch.equal(found.clean[0], found.clean[1])

    def test_are_the_pictures_that_the_base_draws_from_those_seeds(self) -> None:
        toy = Toy()
        _, found = pooled(job_world(toy, [6, 2]), OWN, Memory(), [6, 2], judged=1)
        with toy.reference():
            again = search(job_world(toy, [6, 2]), OWN, found.seeds)
        torch.testing.assert_close(found.clean, again.clean)
        torch.testing.assert_close(found.rewards, again.rewards)


class TestDiffusionDpo:
    def test_the_pair_stays_while_t_and_noise_are_fresh(self) -> None:
        """By brute force: at every update the gradient is that of the same pair at that update's (t, ε)."""
        toy, memory, places = Toy(), BETA, [3, 5]
        for update in (0, 1, 9):
            done = diffusion_dpo_step(OWN, job_world(toy, places), memory, update, places)
            memory = done.memory
            if update == 0:
                _, pool = pooled(job_world(Toy(), places), OWN, Memory(), places, judged=1)
            there = Toy()
            there.words = there.words[torch.tensor(places)]
            loss = brute.preference(there, OWN, update, pool.clean, brute.pair(pool.scores), 3.0)
            assert brute.distance(done.gradient[0], brute.gradient(loss, there)) < 1e-5

    def test_a_later_update_costs_its_comparison_alone(self) -> None:
        toy = Toy()
        done = diffusion_dpo_step(OWN, job_world(toy, [3, 5]), BETA, 0, [3, 5])
        toy.rows.clear()
        diffusion_dpo_step(OWN, job_world(toy, [5, 3]), done.memory, 1, [5, 3])
        compared = 2 * OWN.levels * 2
        assert [sum(row.graded for row in toy.rows), len(toy.rows)] == [compared, 2 * compared]

    def test_the_policy_may_move_and_the_pair_does_not(self) -> None:
        toy = Toy()
        first = diffusion_dpo_step(OWN, job_world(toy, [3]), BETA, 0, [3]).memory
        toy.theta.data += 1.0
        second = diffusion_dpo_step(OWN, job_world(toy, [3]), first, 1, [3]).memory
        assert all(torch.equal(second.tensors[name], value) for name, value in first.tensors.items())


class TestPlainSft:
    @pytest.mark.parametrize("keep_all", [False, True])
    def test_the_gradient_is_that_of_the_denoising_loss_on_what_is_kept(self, keep_all: bool) -> None:
        toy, places = Toy(), [0, 1, 2]
        done = plain_sft_step(OWN, 0.5, keep_all, world(toy), Memory(), 3, places)
        _, pool = pooled(world(Toy()), OWN, Memory(), places, judged=1)
        losses = []
        for prompt in places:
            rewards = pool.rewards[prompt, :, 0]
            kept = range(4) if keep_all else [rewards.argmax().item()]
            for t, noise in brute.levels(OWN, 3, prompt):
                for place in kept:
                    x = renoise(pool.clean[prompt, place].unsqueeze(0), noise, t)
                    prediction = toy.denoise(x, t, torch.tensor([prompt]), 1.0)
                    with torch.no_grad(), toy.reference():
                        base = toy.denoise(x, t, torch.tensor([prompt]), 1.0)
                    losses.append(error(prediction, noise) + 0.5 * error(prediction, base))
        loss = torch.cat(losses).mean()
        assert done.metrics.loss == pytest.approx(loss.item(), rel=1e-5)
        assert brute.distance(done.gradient[0], brute.gradient(loss, toy)) < 1e-5

    def test_where_pictures_are_worth_the_same_none_is_the_best(self) -> None:
        dull = world(Toy(), lambda pictures, prompt: torch.zeros(len(prompt)))
        assert plain_sft_step(OWN, 0.1, False, dull, Memory(), 0, [0, 1]).gradient is None
        assert plain_sft_step(OWN, 0.1, True, dull, Memory(), 0, [0, 1]).gradient is not None

    def test_the_best_is_that_of_the_pair_that_diffusion_dpo_has(self) -> None:
        memory = plain_sft_step(OWN, 0.1, False, world(Toy()), Memory(), 0, [0, 1]).memory
        also = diffusion_dpo_step(OWN, world(Toy()), BETA, 0, [0, 1]).memory
        for prompt in (0, 1):
            (best,), (same, _) = memory.tensors[f"pool/{prompt}"], also.tensors[f"pool/{prompt}"]
            assert torch.equal(best, same)
            rewards = memory.tensors[f"pool-rewards/{prompt}"]
            assert torch.equal(rewards, also.tensors[f"pool-rewards/{prompt}"])
            assert rewards.amax() - rewards.amin() > 0.01


METHODS = {
    "diffusion-dpo": (partial(diffusion_dpo_step, OWN), 2),
    "sft": (partial(plain_sft_step, OWN, 0.1, False), 1),
    "sft, all": (partial(plain_sft_step, OWN, 0.1, True), 4),
}


@pytest.mark.parametrize("name", METHODS)
class TestWhatIsKept:
    def test_is_what_is_learned_from_and_nothing_else(self, name: str) -> None:
        """It is part of every checkpoint. Rewards are of all that were judged: a later update tells the same of them."""
        method, pictures = METHODS[name]
        first = method(world(Toy()), BETA, 0, [0, 1])
        for prompt in (0, 1):
            kept = first.memory.tensors[f"pool/{prompt}"]
            assert kept.shape == (pictures, *SHAPE)
            assert kept.untyped_storage().nbytes() == kept.nbytes, "a view would hold the others"
            assert first.memory.tensors[f"pool-rewards/{prompt}"].shape == (4, 1)
        again = method(world(Toy()), first.memory, 1, [0, 1]).metrics
        assert again.reward_mean == first.metrics.reward_mean
        assert again.reward_worst == first.metrics.reward_worst

    def test_is_taken_out_of_a_memory_that_kept_all(self, name: str) -> None:
        """As checkpoints of version 2 have it: the same bits."""
        method, _ = METHODS[name]
        whole, _ = pooled(world(Toy()), OWN, BETA, [0, 1], judged=1)
        old, new = (method(world(Toy()), memory, 3, [0, 1]) for memory in (whole, BETA))
        assert torch.equal(old.gradient[0], new.gradient[0])
        assert old.metrics == new.metrics

    def test_is_as_many_of_equals_though_nothing_tells_them_apart(self, name: str) -> None:
        dull = world(Toy(), lambda pictures, prompt: torch.zeros(len(prompt)))
        method, pictures = METHODS[name]
        done = method(dull, BETA, 0, [0, 1])
        assert done.memory.tensors["pool/0"].shape == (pictures, *SHAPE)
        assert (done.gradient is None) == (name != "sft, all")
