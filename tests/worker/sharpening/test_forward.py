"""The forward-process method: its gradient at the old policy, its weights, and the old policy's slow walk."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.sharpening import brute
from tests.worker.sharpening.toy import Toy, renoise, settings, world
from worker.sharpening.forward import forward_step, moved, optimality
from worker.sharpening.objective import error
from worker.sharpening.rollout import candidate_seeds, search
from worker.sharpening.update import Memory

OWN = settings(candidates=4)
PROMPTS = 3

rewards_of_prompts = st.lists(
    st.lists(st.floats(-100, 100), min_size=4, max_size=4), min_size=1, max_size=5
).map(lambda rows: torch.tensor(rows, dtype=torch.float64))  # fmt: skip


def loss_by_hand(toy: Toy, old: torch.Tensor, update: int, mix: float, anchor: float) -> torch.Tensor:
    """Steps 1 to 4 of the method, one candidate and one level at a time; θ carries the gradient, `old` none."""
    former = Toy()
    former.theta = old
    found = search(world(former), OWN, candidate_seeds(OWN, update, PROMPTS))
    rewards = found.rewards[..., -1]
    scale, losses = rewards.sub(rewards.mean(dim=1, keepdim=True)).std(), []
    for prompt in range(PROMPTS):
        for t, noise in brute.levels(OWN, update, prompt):
            own_errors, terms, where = [], [], torch.tensor([prompt])
            for place in range(4):
                x = renoise(found.clean[prompt, place].unsqueeze(0), noise, t)
                now = toy.denoise(x, t, where, 1.0)
                with torch.no_grad(), toy.reference():
                    before, base = former.denoise(x, t, where, 1.0), toy.denoise(x, t, where, 1.0)
                r = 0.5 + 0.5 * ((rewards[prompt, place] - rewards[prompt].mean()) / scale).clamp(-1, 1)
                towards, away = (1 - mix) * before + mix * now, (1 + mix) * before - mix * now
                terms.append(r * error(towards, noise) + (1 - r) * error(away, noise) + anchor * error(now, base))
                own_errors.append(error(before, noise))
            losses.append(torch.cat(terms).mean() / torch.cat(own_errors).mean())
    return torch.stack(losses).mean()


class TestForwardStep:
    @pytest.mark.parametrize("mix", [0.5, 1.0, 3.0])
    def test_at_the_old_policy_the_gradient_is_that_of_the_signed_error(self, mix: float) -> None:
        """mix · (2r − 1) ∇‖v_θ − v‖² / unit, averaged over candidates and levels."""
        toy = Toy()
        found = search(world(toy), OWN, candidate_seeds(OWN, 2, PROMPTS))
        r, losses = optimality(found.rewards[..., -1]), []
        for prompt in range(PROMPTS):
            for t, noise in brute.levels(OWN, 2, prompt):
                errors = torch.cat(
                    [
                        error(toy.denoise(renoise(clean[None], noise, t), t, torch.tensor([prompt]), 1.0), noise)
                        for clean in found.clean[prompt]
                    ]
                )
                losses.append((mix * (2 * r[prompt] - 1) * errors / errors.detach().mean()).mean())
        expected = brute.gradient(torch.stack(losses).mean(), toy)
        (gradient,) = forward_step(OWN, mix, 0.9, 0.0, world(toy), Memory(), 2, range(PROMPTS)).gradient
        assert brute.distance(gradient, expected) < 1e-5

    @pytest.mark.parametrize("anchor", [0.0, 0.3])
    def test_away_from_the_old_policy_the_gradient_is_that_of_its_definition(self, anchor: float) -> None:
        toy = Toy()
        old = 0.5 * toy.theta.detach() + 0.02
        done = forward_step(OWN, 0.7, 0.75, anchor, world(toy), Memory(tensors={"old/0": old}), 2, range(PROMPTS))
        loss = loss_by_hand(toy, 0.75 * old + 0.25 * toy.theta.detach(), 2, mix=0.7, anchor=anchor)
        assert done.metrics.loss == pytest.approx(loss.item(), rel=1e-5)
        assert brute.distance(done.gradient[0], brute.gradient(loss, toy)) < 1e-5

    def test_a_step_down_the_gradient_makes_the_better_pictures_likelier(self) -> None:
        toy = Toy()
        found = search(world(toy), OWN, candidate_seeds(OWN, 2, PROMPTS))
        (gradient,) = forward_step(OWN, 1.0, 0.9, 0.0, world(toy), Memory(), 2, range(PROMPTS)).gradient
        sign = 2 * optimality(found.rewards[..., -1]) - 1

        def signed_error() -> float:
            total = 0.0
            for prompt in range(PROMPTS):
                for t, noise in brute.levels(OWN, 2, prompt):
                    for place, clean in enumerate(found.clean[prompt]):
                        x = renoise(clean[None], noise, t)
                        said = toy.denoise(x, t, torch.tensor([prompt]), 1.0)
                        total += sign[prompt, place].item() * error(said, noise).item()
            return total

        before = signed_error()
        toy.theta.data -= 1e-3 * gradient
        assert signed_error() < before

    @pytest.mark.parametrize("micro_batch", [1, 5, 9])
    def test_the_micro_batch_changes_nothing(self, micro_batch: int) -> None:
        whole, parts = (
            forward_step(
                settings(candidates=4, micro_batch=size), 1.0, 0.9, 0.3, world(Toy()), Memory(), 2, range(PROMPTS)
            )
            for size in (64, micro_batch)
        )
        torch.testing.assert_close(parts.gradient, whole.gradient, rtol=1e-5, atol=1e-8)
        assert parts.metrics.loss == pytest.approx(whole.metrics.loss, rel=1e-5)

    def test_prompts_whose_candidates_are_all_alike_teach_nothing(self) -> None:
        dull = world(Toy(), lambda pictures, prompt: prompt.double())
        done = forward_step(OWN, 1.0, 0.9, 0.0, dull, Memory(), 0, range(PROMPTS))
        assert done.gradient is None
        assert done.metrics.ties == PROMPTS
        assert "old/0" in done.memory.tensors


class TestOldPolicy:
    def test_moves_by_its_decay_and_leaves_the_adapters_bits_alone(self) -> None:
        toy, memory, expected = Toy(), Memory(), None
        for update in range(4):
            before = toy.theta.detach().clone()
            memory = forward_step(OWN, 1.0, 0.8, 0.0, world(toy), memory, update, range(PROMPTS)).memory
            assert torch.equal(toy.theta, before)
            expected = before if expected is None else 0.8 * expected + 0.2 * before
            torch.testing.assert_close(memory.tensors["old/0"], expected)
            toy.theta.data += 0.1

    def test_without_decay_it_is_the_adapter(self) -> None:
        toy = Toy()
        (old,) = moved(world(toy), Memory(tensors={"old/0": toy.theta.detach() + 1}), 0.0)
        assert torch.equal(old, toy.theta)

    def test_what_it_remembers_is_no_view_of_the_adapter(self) -> None:
        toy = Toy()
        (old,) = moved(world(toy), Memory(), 0.9)
        toy.theta.data += 1
        assert not torch.equal(old, toy.theta)

    def test_draws_the_candidates(self) -> None:
        """The rewards told are those of the old policy's pictures, not of the policy's."""
        toy, former = Toy(theta=0.3), Toy(theta=0.0)
        memory = Memory(tensors={"old/0": former.theta.detach()})
        told = forward_step(OWN, 1.0, 0.999999, 0.0, world(toy), memory, 0, range(PROMPTS)).metrics
        drawn = search(world(former), OWN, candidate_seeds(OWN, 0, PROMPTS)).rewards
        assert told.reward_mean == pytest.approx(drawn.mean().item(), rel=1e-4)


class TestOptimality:
    @given(rewards_of_prompts)
    def test_lies_between_0_and_1_and_rises_with_the_reward(self, rewards: torch.Tensor) -> None:
        r = optimality(rewards)
        assert ((r >= 0) & (r <= 1)).all()
        assert (r.gather(1, rewards.argsort(dim=1)).diff(dim=1) >= -1e-12).all()

    @given(rewards_of_prompts)
    def test_is_a_half_on_average_where_nothing_is_clipped(self, rewards: torch.Tensor) -> None:
        r = optimality(rewards)
        free = ((r > 0) & (r < 1)).all(dim=1)
        torch.testing.assert_close(r[free].mean(dim=1), torch.full_like(r[free][:, 0], 0.5))

    def test_is_in_standard_deviations_of_the_updates_rewards(self) -> None:
        rewards = torch.tensor([[0.0, 2.0], [5.0, 5.0]], dtype=torch.float64)
        spread = torch.tensor([-1.0, 1.0, 0.0, 0.0]).std().item()
        assert optimality(rewards).flatten().tolist() == pytest.approx(
            [0.5 - 0.5 * min(1 / spread, 1), 0.5 + 0.5 * min(1 / spread, 1), 0.5, 0.5]
        )
