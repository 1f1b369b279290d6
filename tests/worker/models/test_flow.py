"""The flow process against diffusers' scheduler, its shift by formula, and the SDE step by its marginals."""

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from worker.models.flow import Flow


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or (2, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


def flow(*, tokens: int = 1024, **words: object) -> Flow:
    return Flow(FlowMatchEulerDiscreteScheduler(**words).config, tokens)


class TestSchedule:
    def test_a_static_shift_is_applied_once_in_training(self) -> None:
        u = torch.arange(1, 1001) / 1000
        expected = 3 * u / (1 + 2 * u)
        times = flow(shift=3.0).times(torch.arange(1000))
        torch.testing.assert_close(times / 1000, expected)

    @pytest.mark.parametrize(("tokens", "mu"), [(256, 0.5), (4096, 1.15)])
    def test_a_dynamic_shift_is_that_of_the_picture_s_size(self, tokens: int, mu: float) -> None:
        u = torch.arange(1, 1001) / 1000
        expected = math.exp(mu) * u / (1 + (math.exp(mu) - 1) * u)
        times = flow(tokens=tokens, shift=3.0, use_dynamic_shifting=True).times(torch.arange(1000))
        torch.testing.assert_close(times / 1000, expected)

    def test_a_time_stays_and_a_place_is_looked_up(self) -> None:
        process = flow(shift=3.0)
        assert process.times(torch.tensor([437.5])).item() == 437.5
        assert process.times(torch.tensor([999])).item() == 1000
        assert process.times(torch.tensor([0])).item() == pytest.approx(1000 * 0.003 / 1.002)

    def test_the_walk_s_times_are_levels_of_the_process(self) -> None:
        """A sampler's timestep means the σ that it steps from."""
        process = flow(shift=3.0)
        sampler = process.sampler(7)
        noise = torch.ones(7, 1, 1, 1)
        levels = process.renoise(torch.zeros_like(noise), noise, torch.tensor(sampler.timesteps)).flatten()
        torch.testing.assert_close(levels, sampler.sigmas[:-1])


class TestRenoise:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
    def test_the_level_is_the_time_that_the_network_is_told(self, dtype: torch.dtype) -> None:
        """At every place of training, whatever the pictures' type: σ of 8 bits would be off by up to 1 in 500."""
        process, places = flow(shift=3.0), torch.arange(1000)
        one = torch.ones(1000, 1, 1, 1, dtype=dtype)
        levels = process.renoise(torch.zeros_like(one), one, places)
        torch.testing.assert_close(levels.flatten(), process.times(places) / 1000, rtol=0, atol=1e-6)


class TestStep:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_it_is_the_scheduler_s_arithmetic_bit_for_bit(self, dtype: torch.dtype) -> None:
        reference = FlowMatchEulerDiscreteScheduler(shift=3.0)
        reference.set_timesteps(5)
        sampler = Flow(reference.config, 1024).sampler(5)
        ours = theirs = drawn(0).to(dtype)
        for index, t in enumerate(reference.timesteps):
            prediction = drawn(index + 1).to(dtype)
            ours, _ = sampler.step(prediction, index, ours)
            theirs = reference.step(prediction, t, theirs).prev_sample
            assert torch.equal(ours, theirs)


class TestStochastic:
    def test_mean_and_spread_are_flow_grpo_s_equation(self) -> None:
        sampler, a, index = flow(shift=3.0).sampler(8), 0.7, 3
        t, dt = sampler.sigmas[index].item(), (sampler.sigmas[index + 1] - sampler.sigmas[index]).item()
        x, v = drawn(1).double(), drawn(2).double()
        sigma = a * math.sqrt(t / (1 - t))
        expected = x + (v + sigma**2 / (2 * t) * (x + (1 - t) * v)) * dt
        mean, std = sampler.stochastic(v.float(), index, x.float(), a)
        torch.testing.assert_close(mean.double(), expected, atol=1e-5, rtol=1e-5)
        assert std.item() == pytest.approx(sigma * math.sqrt(-dt), rel=1e-5)

    @pytest.mark.parametrize("index", [0, 3, 7])
    def test_without_noise_it_is_the_deterministic_step(self, index: int) -> None:
        sampler = flow(shift=3.0).sampler(8)
        mean, std = sampler.stochastic(drawn(1), index, drawn(2), 0.0)
        assert torch.equal(mean, sampler.step(drawn(1), index, drawn(2))[0])
        assert std == 0

    @pytest.mark.parametrize("steps", [1, 4, 8])
    def test_no_noise_is_put_into_the_picture(self, steps: int) -> None:
        """The step to σ = 0 is the deterministic one at every noise level: what is judged is what was drawn."""
        sampler = flow(shift=3.0).sampler(steps)
        assert sampler.sigmas[-1] == 0
        mean, std = sampler.stochastic(drawn(1), steps - 1, drawn(2), 0.7)
        assert torch.equal(mean, sampler.step(drawn(1), steps - 1, drawn(2))[0])
        assert std == 0
        if steps > 1:
            assert sampler.stochastic(drawn(1), steps - 2, drawn(2), 0.7)[1] > 0

    def test_the_first_step_from_pure_noise_is_finite(self) -> None:
        sampler = flow(shift=3.0).sampler(8)
        assert sampler.sigmas[0] == 1
        mean, std = sampler.stochastic(drawn(1), 0, drawn(2), 0.7)
        assert mean.isfinite().all()
        assert 0 < std < 1

    def test_many_small_steps_keep_the_marginals_of_the_flow(self) -> None:
        """Data N(0, s²): v is known, and x_σ must stay N(0, (1−σ)²s² + σ²) however much noise is injected."""
        sampler, s = flow().sampler(400), 0.5
        x = drawn(0, 20_000)
        for index in range(300):
            sigma = sampler.sigmas[index]
            variance = ((1 - sigma) * s) ** 2 + sigma**2
            v = x * (sigma - (1 - sigma) * s**2) / variance
            mean, std = sampler.stochastic(v, index, x, 0.7)
            x = mean + std * drawn(index + 1, 20_000)
        sigma = sampler.sigmas[300]
        assert x.std().item() == pytest.approx(math.sqrt(((1 - sigma) * s) ** 2 + sigma**2), rel=0.02)
