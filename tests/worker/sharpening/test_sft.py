"""The SFT form by identities and brute force."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.worker.sharpening import brute
from tests.worker.sharpening.toy import SHAPE, Toy, Walk, coefficients, renoise, rugged, settings, velocity, world
from worker.sharpening.denoising import Examples, denoising_gradient
from worker.sharpening.objective import error
from worker.sharpening.offline import plain_sft_step
from worker.sharpening.pool import seeds
from worker.sharpening.rollout import search
from worker.sharpening.sft import consistent, members, noisings, rollout_step, sft_step
from worker.sharpening.trajectory import starts, walk_from
from worker.sharpening.update import Memory, Step
from worker.sharpening.world import Settings

OWN = settings(candidates=4, walk_steps=10, trajectory_length=3)
PROMPTS = 3


def pictures(place: int, count: int = 4) -> Tensor:
    """A prompt's own."""
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(place), dtype=torch.float64)


def examples_of(toy: Toy, own: Settings, *, v: bool = False) -> tuple[Examples, Tensor, Tensor, Tensor]:
    """One walk from each of 4 pictures at places 0 to 3, as examples; with the pictures, ε and places."""
    clean, index = pictures(0), torch.arange(4)
    noise = torch.randn((4, *SHAPE), generator=torch.Generator().manual_seed(9))
    made = world(toy, v=v)
    walked = walk_from(made, own, clean, noise, index, torch.zeros(4, dtype=torch.long))
    every = torch.arange(4)
    return consistent(made, clean, walked, every, torch.zeros(4, dtype=torch.long), torch.ones(4)), clean, noise, index


class TestConsistent:
    @pytest.mark.parametrize("v", [False, True])
    def test_one_step_is_ordinary_denoising(self, v: bool) -> None:
        own = settings(candidates=4, walk_steps=10, trajectory_length=1)
        examples, clean, noise, index = examples_of(Toy(), own, v=v)
        t = torch.tensor(Walk(10).timesteps)[index]
        assert torch.equal(examples.t, t)
        torch.testing.assert_close(examples.states, renoise(clean, noise, t))
        target = velocity(clean, noise, t) if v else noise
        torch.testing.assert_close(examples.target, target, check_dtype=False, atol=1e-6, rtol=1e-6)
        assert examples.weight.tolist() == [1, 1, 1, 1]

    @pytest.mark.parametrize("v", [False, True])
    def test_several_steps_have_the_target_of_the_formula(self, v: bool) -> None:
        """ε_k = ε̂ + r(ε_{k−1} − ε̂), r = √(SNR_k/SNR_{k−1}), where ε̂ is what the policy said at step k − 1."""
        toy, sampler = Toy(), Walk(10, v=v)
        examples, clean, noise, index = examples_of(toy, OWN, v=v)
        for row, x_0 in enumerate(clean.unsqueeze(1)):
            eps = noise[row : row + 1].double()
            for state in range(3):
                place, t = 3 * row + state, torch.tensor([sampler.timesteps[index[row] + state]])
                target = velocity(x_0, eps, t) if v else eps
                torch.testing.assert_close(examples.target[place : place + 1], target, rtol=1e-9, atol=1e-9)
                x = examples.states[place : place + 1]
                said = toy.denoise(x, t, torch.tensor([0]), OWN.rollout_guidance).detach()
                (a, b), following = coefficients(t), torch.tensor([sampler.timesteps[index[row] + state + 1]])
                said = a * said + b * x if v else said
                r = (torch.div(*coefficients(following)) / (a / b)).item()
                assert r > 1
                eps = said + r * (eps - said)

    def test_the_target_leads_from_the_picture_to_the_state(self) -> None:
        examples, clean, *_ = examples_of(Toy(), OWN)
        again = renoise(clean.repeat_interleave(3, dim=0), examples.target, examples.t)
        torch.testing.assert_close(again, examples.states)

    @pytest.mark.parametrize("v", [False, True])
    def test_the_weight_is_the_first_snr_over_the_states_own(self, v: bool) -> None:
        examples, *_, index = examples_of(Toy(), OWN, v=v)
        t = torch.tensor(Walk(10).timesteps)
        for row in range(4):
            a, b = coefficients(t[index[row] : index[row] + 3])
            snr = (a / b).square().flatten()
            torch.testing.assert_close(examples.weight.view(4, 3)[row].double(), snr[0] / snr, rtol=1e-6, atol=0)

    def test_where_the_model_predicts_noise_every_state_weighs_alike_in_the_picture(self) -> None:
        """w ‖ε_k − ε̂‖² = SNR_1 ‖x_0 − x̂_0‖², whatever k is: what the target multiplies, the weight takes out."""
        toy = Toy()
        examples, clean, _, index = examples_of(toy, OWN)
        said = toy.denoise(examples.states, examples.t, examples.prompt, 1.0).detach()
        a, b = coefficients(examples.t)
        seen = (examples.states - b * said) / a
        first = coefficients(torch.tensor(Walk(10).timesteps)[index].repeat_interleave(3))
        snr = (first[0] / first[1]).square().flatten()
        expected = snr * (seen - clean.repeat_interleave(3, dim=0)).square().flatten(1).mean(dim=1)
        weighted = examples.weight.double() * (said - examples.target).square().flatten(1).mean(dim=1)
        torch.testing.assert_close(weighted, expected, rtol=1e-6, atol=0)


class TestDenoisingGradient:
    def test_of_one_candidate_and_one_step_is_that_of_the_ordinary_loss(self) -> None:
        toy, own = Toy(), settings(candidates=4, walk_steps=10, trajectory_length=1)
        examples, clean, noise, index = examples_of(toy, own)
        t = torch.tensor(Walk(10).timesteps)[index]
        prediction = toy.denoise(renoise(clean, noise, t), t, torch.zeros(4, dtype=torch.long), 1.0)
        ordinary = (prediction - noise).square().mean()
        (gradient,), loss = denoising_gradient(world(toy), own, examples, anchor=0.0)
        assert loss == pytest.approx(ordinary.item(), rel=1e-6)
        assert brute.distance(gradient, brute.gradient(ordinary, toy)) < 1e-6

    def test_the_anchor_pulls_nowhere_at_the_reference(self) -> None:
        free, anchored = self.gradients(Toy(theta=0.0))
        assert torch.equal(free, anchored)

    def test_the_anchor_pulls_back_elsewhere(self) -> None:
        """It is β ‖ε_θ − ε_ref‖², and here ε_θ − ε_ref = x θ."""
        toy = Toy(theta=0.3)
        free, anchored = self.gradients(toy)
        x = examples_of(toy, OWN)[0].states.flatten(1)
        weight = examples_of(toy, OWN)[0].weight.double()
        pull = 5.0 * (weight.unsqueeze(1) * (x @ toy.theta).square()).mean()
        assert brute.distance(anchored - free, brute.gradient(pull, toy)) < 1e-5

    @staticmethod
    def gradients(toy: Toy) -> tuple[Tensor, Tensor]:
        examples, *_ = examples_of(toy, OWN)
        return tuple(denoising_gradient(world(toy), OWN, examples, anchor)[0][0] for anchor in (0.0, 5.0))


def loss_that_keeps_every_graph(toy: Toy, own: Settings, update: int, anchor: float, *, among_noisings: bool) -> Tensor:
    """All n candidates walk with gradients kept at each of their (detached) states; only then is one chosen."""
    sampler, losses = Walk(own.walk_steps), []
    begun = starts(world(toy), own, update, PROMPTS)
    eps = noisings(world(toy), own, update, PROMPTS, own=among_noisings).view(PROMPTS, -1, 1, *SHAPE)
    for prompt in range(PROMPTS):
        where, sums, terms = torch.tensor([prompt]), [], []
        for place in range(own.candidates):
            clean = pictures(prompt)[0 if among_noisings else place].unsqueeze(0)
            index, total, parts = begun[prompt].item(), 0.0, []
            x, first = renoise(clean, eps[prompt, place], torch.tensor([sampler.timesteps[index]])), None
            for state in range(own.trajectory_length):
                t = torch.tensor([sampler.timesteps[index + state]])
                a, b = coefficients(t)
                snr = (a / b).square().item()
                first = first or snr
                prediction = toy.denoise(x, t, where, own.loss_guidance)
                with torch.no_grad(), toy.reference():
                    base = toy.denoise(x, t, where, own.loss_guidance)
                target = (x - a * clean) / b
                distance = error(prediction, target) + anchor * error(prediction, base)
                parts.append(torch.tensor(first / snr, dtype=torch.float32) * distance)
                walked = toy.denoise(x, t, where, own.rollout_guidance).detach()
                x, preview = sampler.step(walked, index + state, x)
                total += rugged(preview, where).item()
            sums.append(total)
            terms.append(torch.cat(parts).mean())
        losses.append(terms[max(range(own.candidates), key=sums.__getitem__)])
    return torch.stack(losses).mean()


def sharpened(toy: Toy, own: Settings, update: int, anchor: float = 0.1, *, among_noisings: bool = False) -> Step:
    made = world(toy, rugged, pictures)
    return sft_step(own, anchor, among_noisings, made, Memory(), update, range(PROMPTS))


class TestSftStep:
    @pytest.mark.parametrize("among_noisings", [False, True])
    def test_the_gradient_is_that_which_keeps_every_graph(self, among_noisings: bool) -> None:
        toy = Toy()
        done = sharpened(toy, OWN, 4, among_noisings=among_noisings)
        loss = loss_that_keeps_every_graph(toy, OWN, 4, 0.1, among_noisings=among_noisings)
        assert done.metrics.loss == pytest.approx(loss.item(), rel=1e-6)
        assert brute.distance(done.gradient[0], brute.gradient(loss, toy)) <= 1e-10

    def test_only_the_best_trajectory_is_differentiated(self) -> None:
        toy = Toy()
        sharpened(toy, OWN, 0)
        assert sum(row.graded for row in toy.rows) == PROMPTS * 3
        assert sum(not row.graded for row in toy.rows) == PROMPTS * 4 * 3 + PROMPTS * 3  # walks, anchor

    @pytest.mark.parametrize("micro_batch", [1, 2, 7])
    def test_the_micro_batch_changes_nothing(self, micro_batch: int) -> None:
        whole, parts = sharpened(Toy(), OWN, 2), sharpened(Toy(), replace(OWN, micro_batch=micro_batch), 2)
        torch.testing.assert_close(parts.gradient, whole.gradient, rtol=1e-9, atol=1e-12)
        assert parts.metrics == replace(whole.metrics, loss=pytest.approx(whole.metrics.loss))

    def test_a_group_of_equals_teaches_nothing(self) -> None:
        dull = world(Toy(), lambda pictures, prompt: prompt.double(), pictures)
        done = sft_step(OWN, 0.1, False, dull, Memory(), 0, range(PROMPTS))
        assert done.gradient is None
        assert (done.metrics.ties, done.metrics.loss) == (PROMPTS, None)

    def test_path_weights_towards_temperature_zero_are_argmax(self) -> None:
        (sharp,), (weighted,) = (
            sharpened(Toy(), replace(OWN, temperature=temperature), 1).gradient for temperature in (None, 1e-3)
        )
        assert brute.distance(weighted, sharp) <= 1e-6

    def test_a_model_of_v_learns_too(self) -> None:
        toy = Toy()
        done = sft_step(OWN, 0.0, False, world(toy, images=pictures, v=True), Memory(), 0, range(PROMPTS))
        assert done.gradient[0].norm() > 1e-3


class TestMembers:
    def test_own_pictures_come_first_then_the_bases(self) -> None:
        toy = Toy()
        made = world(toy, images=lambda place: pictures(place, count=place))
        memory, groups = members(made, OWN, Memory(), [11, 5, 8], 4)
        for place, prompt in enumerate([11, 5, 8]):
            assert torch.equal(groups[place, :place], pictures(place, count=place))
            torch.testing.assert_close(groups[place, place:], memory.tensors[f"pool/{prompt}"])

    def test_no_more_are_drawn_than_a_group_lacks_and_from_the_same_seeds(self) -> None:
        toy = Toy()
        mixed = world(toy, images=lambda place: pictures(place, count=(3, 0, 4, 3)[place]))
        memory, groups = members(mixed, OWN, Memory(), [11, 5, 8, 2], 4)
        assert len(toy.rows) == (1 + 4 + 0 + 1) * OWN.rollout_steps
        _, whole = members(world(Toy(), images=lambda place: pictures(place, count=0)), OWN, Memory(), [11, 5, 8, 2], 4)
        torch.testing.assert_close(groups[1], whole[1])
        for place in (0, 3):
            torch.testing.assert_close(groups[place, 3:], whole[place, :1])
        _, again = members(mixed, OWN, memory, [11, 5, 8, 2], 4)
        assert len(toy.rows) == (1 + 4 + 0 + 1) * OWN.rollout_steps
        assert torch.equal(again, groups)

    def test_the_frozen_base_draws_and_only_once(self) -> None:
        toy = Toy()
        memory, first = members(world(toy), OWN, Memory(), [0, 1], 4)
        assert len(toy.rows) == 2 * 4 * OWN.rollout_steps
        assert not any(row.adapted or row.graded for row in toy.rows)
        toy.theta.data += 1.0
        _, second = members(world(toy), OWN, memory, [0, 1], 4)
        assert len(toy.rows) == 2 * 4 * OWN.rollout_steps
        assert torch.equal(first, second)

    def test_no_more_are_drawn_than_the_group_takes(self) -> None:
        toy = Toy()
        _, groups = members(world(toy), OWN, Memory(), [0, 1], 1)
        assert groups.shape == (2, 1, *SHAPE)
        assert len(toy.rows) == 2 * OWN.rollout_steps

    def test_enough_pictures_need_no_base(self) -> None:
        toy = Toy()
        made = world(toy, images=lambda place: pictures(place, count=6))
        memory, groups = members(made, OWN, Memory(), [3], 4)
        assert (toy.rows, memory) == ([], Memory())
        assert torch.equal(groups[0], pictures(0, count=6)[:4])


class TestNoisings:
    def test_a_group_shares_its_noise_and_noisings_have_their_own(self) -> None:
        shared, own = (noisings(world(Toy()), OWN, 0, 2, own=own).view(2, 4, -1) for own in (False, True))
        assert torch.equal(shared, shared[:, :1].expand_as(shared))
        assert len(shared[:, 0].unique(dim=0)) == 2
        assert len(own.flatten(0, 1).unique(dim=0)) == 8


class TestTwoPoints:
    """One dimension, x_0 = +1 (good) or −1 (bad), half and half; the base is the exact denoiser of that mixture, and the
    reward is x̂_0. What the rule of selection teaches is the mean of its targets at each (t, x_t): draw with that.

    The paper's rule prefers, of the noisings of a bad picture, those that look good; so where the two are hard to tell
    apart, more bad pictures than good ones are in the training set. Among pictures the good one wins; a group of bad ones
    alone is a tie and teaches nothing (kept, the share would be 1 − 2⁻³ = .875).
    """

    STEPS, BINS = 10, 60

    def test_the_base_draws_half_and_half(self) -> None:
        assert self.share_of_good(self.exact) == pytest.approx(0.5, abs=0.02)

    def test_selecting_among_noisings_makes_good_pictures_rare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.share_of_good(self.taught(monkeypatch, among_noisings=True)) < 0.3

    def test_selecting_among_pictures_makes_them_common(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.share_of_good(self.taught(monkeypatch, among_noisings=False)) > 0.85

    @staticmethod
    def exact(latents: Tensor, t: Tensor, prompt: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        a, b = coefficients(t)
        return (latents - a * torch.tanh(a * latents / b.square())) / b

    def taught(self, monkeypatch: pytest.MonkeyPatch, *, among_noisings: bool) -> Callable[[Tensor, Tensor], Tensor]:
        """The best prediction on what `sft_step` chose for 6,000 groups of 3: the mean target in each of some bins."""
        gathered = []

        def gather(world: object, settings: object, examples: Examples, anchor: float) -> tuple[tuple[Tensor], float]:
            gathered.append(examples)
            return (torch.zeros(1),), 0.0

        monkeypatch.setattr("worker.sharpening.sft.denoising_gradient", gather)
        draw = torch.Generator().manual_seed(0)

        def half_and_half(place: int) -> Tensor:
            return 2.0 * torch.randint(0, 2, (3, 1, 1, 1), generator=draw).double() - 1

        made = world(Toy(), lambda pictures, prompt: pictures.flatten(1)[:, 0], half_and_half)
        made = replace(made, latent_shape=(1, 1, 1), denoise=self.exact)
        own = settings(
            candidates=3, walk_steps=self.STEPS, trajectory_length=1, rollout_guidance=1.0, micro_batch=10**6
        )
        sft_step(own, 0.0, among_noisings, made, Memory(), 0, range(6000))
        (examples,) = gathered
        x, target, weight = examples.states.flatten(), examples.target.flatten(), examples.weight.double()

        def prediction(latents: Tensor, t: Tensor) -> Tensor:
            here = examples.t == t[0]
            edges = x[here].quantile(torch.linspace(0, 1, self.BINS + 1, dtype=torch.float64))[1:-1]
            place = torch.bucketize(x[here], edges)
            a, b = (part.flatten() for part in coefficients(t[:1]))
            clean = (x[here] - b * target[here]) / a
            sums, total = (
                torch.zeros(self.BINS, dtype=torch.float64).index_add(0, place, part)
                for part in (weight[here] * clean, weight[here])
            )
            expected = (sums / total)[torch.bucketize(latents.flatten(), edges)].view_as(latents)
            return (latents - a * expected) / b

        return prediction

    def share_of_good(self, prediction: Callable[[Tensor, Tensor], Tensor]) -> float:
        sampler = Walk(self.STEPS)
        x = torch.randn((4000, 1, 1, 1), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for index, t in enumerate(sampler.timesteps):
            x, _ = sampler.step(prediction(x, torch.full((len(x),), t)), index, x)
        return (x > 0).double().mean().item()


class TestRolloutStep:
    """`states: rollout`: OWN judges three states of each rollout."""

    def test_of_one_state_is_plain_fine_tuning_on_the_best_bit_for_bit(self) -> None:
        own = replace(OWN, trajectory_length=1)
        ours = rollout_step(own, 0.1, world(Toy()), Memory(), 2, range(PROMPTS))
        plain = plain_sft_step(own, 0.1, False, world(Toy()), Memory(), 2, range(PROMPTS))
        assert torch.equal(ours.gradient[0], plain.gradient[0])
        assert ours.metrics == plain.metrics

    def test_the_best_has_the_largest_sum_over_the_last_states_of_its_own_rollout(self) -> None:
        """A reward that the last state alone would tell otherwise."""
        made = world(Toy(), rugged)
        with made.reference():
            found = search(made, OWN, torch.stack([seeds(OWN, prompt) for prompt in range(PROMPTS)]), judged=3)
        best, last = found.scores.argmax(dim=1), found.rewards[..., -1].argmax(dim=1)
        assert not torch.equal(best, last)
        done = rollout_step(OWN, 0.1, world(Toy(), rugged), Memory(), 2, range(PROMPTS))
        for prompt in range(PROMPTS):
            torch.testing.assert_close(done.memory.tensors[f"pool/{prompt}"][0], found.clean[prompt, best[prompt]])

    def test_weights_over_all_tend_to_the_best_alone_as_they_sharpen(self) -> None:
        alone, weighed = (
            rollout_step(replace(OWN, temperature=temperature), 0.1, world(Toy()), Memory(), 2, range(PROMPTS))
            for temperature in (None, 1e-4)
        )
        assert brute.distance(weighed.gradient[0], alone.gradient[0]) < 1e-5
        assert weighed.metrics.loss == pytest.approx(alone.metrics.loss, rel=1e-5)

    def test_walks_nowhere_and_pays_for_a_picture_once(self) -> None:
        toy, memory = Toy(), Memory()
        learned = 2 * OWN.levels * PROMPTS  # by policy and reference
        for drawn in (OWN.candidates * OWN.rollout_steps * PROMPTS, 0):
            before = len(toy.rows)
            memory = rollout_step(OWN, 0.1, world(toy), memory, 2, range(PROMPTS)).memory
            assert len(toy.rows) - before == drawn + learned
