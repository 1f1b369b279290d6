"""The paper's estimator against its definition, and the numbers that `paper: true` fixes."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from service.domain.methods import SharpeningRLHF
from service.domain.methods.sharpening import PAPER
from tests.worker.sharpening import brute
from tests.worker.sharpening.toy import SHAPE, Toy, Walk, coefficients, renoise, rugged, settings, velocity, world
from worker.sharpening.beta import Beta
from worker.sharpening.objective import error
from worker.sharpening.paper import own_noise, paper_step, target
from worker.sharpening.rng import generator
from worker.sharpening.rollout import candidate_seeds, search
from worker.sharpening.trajectory import starts
from worker.sharpening.update import Memory
from worker.sharpening.world import Settings

OWN = settings(candidates=3, walk_steps=10, trajectory_length=3, rollout_guidance=1.0, levels=1)
BETA = Memory(Beta(value=7.0, fixed=True))
PROMPTS = 4


def loss_of_the_paper(toy: Toy, own: Settings, update: int, beta: float) -> Tensor:
    """Algorithm 2: all n candidates walk from an ε of their own, with the graph of each of their (detached) states; target
    ε at every step; the mean over m inside one log σ; β on plain errors; the reference at the same states."""
    sampler, losses = Walk(own.walk_steps), []
    clean = search(world(toy), own, candidate_seeds(own, update, PROMPTS), judged=0).clean
    begun = starts(world(toy), own, update, PROMPTS)
    for prompt in range(PROMPTS):
        where, sums, policies, references = torch.tensor([prompt]), [], [], []
        for place in range(own.candidates):
            noise = torch.randn(SHAPE, generator=generator(own.seed, update, prompt, "walk", place)).unsqueeze(0)
            index, total, policy, reference = begun[prompt].item(), 0.0, [], []
            x = renoise(clean[prompt, place].unsqueeze(0), noise, torch.tensor([sampler.timesteps[index]]))
            for state in range(own.trajectory_length):
                t = torch.tensor([sampler.timesteps[index + state]])
                prediction = toy.denoise(x, t, where, 1.0)
                policy.append(error(prediction, noise))
                with torch.no_grad(), toy.reference():
                    reference.append(error(toy.denoise(x, t, where, 1.0), noise))
                x, preview = sampler.step(prediction.detach(), index + state, x)
                total += rugged(preview, where).item()
            sums.append(total)
            policies.append(torch.cat(policy).mean())
            references.append(torch.cat(reference).mean())
        best, worst = sums.index(max(sums)), sums.index(min(sums))
        gap = (policies[best] - references[best]) - (policies[worst] - references[worst])
        losses.append(-torch.nn.functional.logsigmoid(-beta * gap))
    return torch.stack(losses).mean()


class TestPaperStep:
    def test_the_logit_is_zero_at_the_reference(self) -> None:
        """The reference is taken at every step, not only at the first."""
        metrics = paper_step(OWN, world(Toy(theta=0.0)), BETA, 0, range(PROMPTS)).metrics
        assert metrics.loss == pytest.approx(math.log(2))
        assert metrics.preference == 0

    @pytest.mark.parametrize("update", [0, 5])
    def test_the_gradient_is_that_of_its_definition(self, update: int) -> None:
        toy = Toy()
        done = paper_step(OWN, world(toy, rugged), BETA, update, range(PROMPTS))
        loss = loss_of_the_paper(toy, OWN, update, BETA.beta.value)
        assert done.metrics.loss == pytest.approx(loss.item(), rel=1e-5)
        assert brute.distance(done.gradient[0], brute.gradient(loss, toy)) < 1e-5

    @pytest.mark.parametrize("micro_batch", [1, 6, 7])
    def test_the_micro_batch_changes_nothing(self, micro_batch: int) -> None:
        whole = paper_step(OWN, world(Toy()), BETA, 2, range(PROMPTS))
        parts = paper_step(replace(OWN, micro_batch=micro_batch), world(Toy()), BETA, 2, range(PROMPTS))
        torch.testing.assert_close(parts.gradient, whole.gradient, rtol=1e-6, atol=1e-9)
        assert parts.metrics.loss == pytest.approx(whole.metrics.loss)

    def test_only_best_and_worst_are_differentiated(self) -> None:
        toy = Toy()
        paper_step(OWN, world(toy), BETA, 0, range(PROMPTS))
        assert sum(row.graded for row in toy.rows) == PROMPTS * 2 * 3
        assert sum(not row.adapted for row in toy.rows) == PROMPTS * 2 * 3
        assert sum(row.adapted and not row.graded for row in toy.rows) == PROMPTS * 3 * (OWN.rollout_steps + 3)

    def test_beta_auto_is_the_reciprocal_of_the_median_gap_of_plain_errors(self) -> None:
        toy = Toy(theta=0.0)
        beta = paper_step(OWN, world(toy), Memory(), 0, range(PROMPTS)).memory.beta
        assert len(beta.gaps) == PROMPTS
        assert beta.value == pytest.approx(1 / sorted(beta.gaps)[(PROMPTS - 1) // 2])

    def test_a_world_of_ties_teaches_nothing(self) -> None:
        dull = world(Toy(), lambda pictures, prompt: torch.zeros(len(prompt)))
        done = paper_step(OWN, dull, BETA, 0, range(PROMPTS))
        assert done.gradient is None
        assert done.metrics.ties == PROMPTS


class TestOwnNoise:
    def test_no_two_candidates_share_it_and_no_rollout_has_used_it(self) -> None:
        put_in = own_noise(world(Toy()), OWN, 0, PROMPTS).flatten(1)
        sampled = [
            torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)).flatten()
            for seed in candidate_seeds(OWN, 0, PROMPTS).flatten().tolist()
        ]
        assert len(torch.cat([put_in, torch.stack(sampled)]).unique(dim=0)) == 2 * PROMPTS * 3


class TestTarget:
    T = torch.tensor([5, 40, 90])
    CLEAN, NOISE = torch.randn((2, 3, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def test_is_the_noise_where_the_model_predicts_noise(self) -> None:
        states = torch.randn((3, *SHAPE), dtype=torch.float64)
        assert torch.equal(target(world(Toy()), states, self.NOISE, self.T), self.NOISE)

    def test_of_v_fits_the_state_and_the_noise(self) -> None:
        """At a state that was made of (x_0, ε) it is their v; at any other, the v with which ε and x_t go together."""
        made = world(Toy(), v=True)
        states = renoise(self.CLEAN, self.NOISE, self.T)
        torch.testing.assert_close(target(made, states, self.NOISE, self.T), velocity(self.CLEAN, self.NOISE, self.T))
        elsewhere = states + 1.0
        a, b = coefficients(self.T)
        torch.testing.assert_close(a * target(made, elsewhere, self.NOISE, self.T) + b * elsewhere, self.NOISE)


class TestRecipe:
    def test_paper_fixes_its_numbers(self) -> None:
        method = SharpeningRLHF(type="sharpening-rlhf", paper=True)
        assert {name: getattr(method, name) for name in PAPER} == {
            "candidates": 3,
            "trajectory_length": 3,
            "rollout_steps": 25,
            "walk_steps": 50,
            "states": "renoised",
            "selection": "argmax",
            "rollout_guidance": 1.0,
            "loss_guidance": 1.0,
            "timesteps_per_pair": 1,
            "least_noise": 0.0,
        }

    @pytest.mark.parametrize("said", [1, "true", "on"])
    def test_paper_is_what_pydantic_takes_for_true(self, said: Any) -> None:
        method = SharpeningRLHF(type="sharpening-rlhf", paper=said)
        assert method == SharpeningRLHF(type="sharpening-rlhf", paper=True)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("candidates", 8),
            ("trajectory_length", 2),
            ("rollout_steps", 10),
            ("states", "rollout"),
            ("least_noise", 0.5),
        ],
    )
    def test_other_numbers_are_refused_with_the_remedy(self, name: str, value: object) -> None:
        with pytest.raises(ValidationError, match=f"leave {name} out, or paper"):
            SharpeningRLHF(type="sharpening-rlhf", paper=True, **{name: value})

    def test_what_the_paper_leaves_open_may_be_chosen(self) -> None:
        method = SharpeningRLHF(type="sharpening-rlhf", paper=True, beta=2500, learning_rate=1e-6, prompts_per_step=8)
        assert (method.beta, method.learning_rate, method.candidates) == (2500, 1e-6, 3)
