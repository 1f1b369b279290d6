"""DDIM's walk against diffusers' own scheduler, and the ends of its schedule."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SchedulerMixin,
)
from torch import Tensor

from service.domain.errors import JobFailure
from worker.models.ddim import Diffusion

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def scheduler(**words: object) -> DDIMScheduler:
    return DDIMScheduler(**{**BETAS, "clip_sample": False, "steps_offset": 1, **words})


def drawn(seed: int) -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


class TestStochastic:
    @pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
    @pytest.mark.parametrize("eta", [0.3, 1.0])
    @pytest.mark.parametrize("index", [0, 4, 8])
    def test_mean_and_spread_are_those_of_diffusers(self, prediction_type: str, eta: float, index: int) -> None:
        reference = scheduler(prediction_type=prediction_type)
        reference.set_timesteps(10)
        sampler = Diffusion(reference.config).sampler(10)
        prediction, latents, noise = drawn(1), drawn(2), drawn(3)
        expected = reference.step(
            prediction, int(reference.timesteps[index]), latents, eta=eta, variance_noise=noise
        ).prev_sample
        mean, std = sampler.stochastic(prediction, index, latents, eta)
        torch.testing.assert_close(mean + std * noise, expected, atol=1e-6, rtol=1e-6)

    def test_without_noise_it_is_the_deterministic_step(self) -> None:
        sampler = Diffusion(scheduler().config).sampler(10)
        mean, std = sampler.stochastic(drawn(1), 3, drawn(2), 0.0)
        assert torch.equal(mean, sampler.step(drawn(1), 3, drawn(2))[0])
        assert std == 0

    @pytest.mark.parametrize("ends_at_one", [True, False])
    @pytest.mark.parametrize("steps", [1, 4, 10])
    def test_no_noise_is_put_into_the_picture(self, ends_at_one: bool, steps: int) -> None:
        """Also where the schedule does not end at α = 1, as SD 1.5's: what is judged is what was drawn."""
        sampler = Diffusion(scheduler(set_alpha_to_one=ends_at_one).config).sampler(steps)
        mean, std = sampler.stochastic(drawn(1), steps - 1, drawn(2), 1.0)
        assert torch.equal(mean, sampler.step(drawn(1), steps - 1, drawn(2))[0])
        assert std == 0
        if steps > 1:
            assert sampler.stochastic(drawn(1), steps - 2, drawn(2), 1.0)[1] > 0

    def test_it_is_differentiable_in_the_prediction(self) -> None:
        prediction = drawn(1).requires_grad_()
        mean, _ = Diffusion(scheduler().config).sampler(10).stochastic(prediction, 3, drawn(2), 1.0)
        mean.sum().backward()
        assert prediction.grad.abs().min() > 0


class TestSchedules:
    @pytest.mark.parametrize("which", [PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler])
    def test_another_scheduler_keeps_its_betas_and_is_walked_by_ddim(self, which: type[SchedulerMixin]) -> None:
        config = which(**BETAS, timestep_spacing="trailing").config
        process = Diffusion(config)
        reference = DDIMScheduler.from_config(config, clip_sample=False)
        reference.set_timesteps(5)
        assert torch.equal(process.scheduler.alphas_cumprod, scheduler().alphas_cumprod)
        assert process.sampler(5).timesteps == tuple(reference.timesteps.tolist())

    def test_betas_that_were_trained_are_walked_as_they_are(self) -> None:
        betas = [0.01, 0.02, 0.05, 0.1]
        process = Diffusion(DDIMScheduler(trained_betas=betas, num_train_timesteps=4).config)
        torch.testing.assert_close(process.scheduler.alphas_cumprod, (1 - torch.tensor(betas)).cumprod(0))

    @pytest.mark.parametrize(
        "which", [EDMEulerScheduler, EDMDPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler]
    )
    def test_a_scheduler_without_betas_is_refused_with_the_remedy(self, which: type[SchedulerMixin]) -> None:
        """It is of another process (EDM: Playground v2.5, CosXL): DDIM would walk it with betas of its own making."""
        with pytest.raises(JobFailure, match=r"no betas.*choose a base model") as failure:
            Diffusion(which().config)
        assert failure.value.code == "base_unloadable"

    def test_latents_are_never_clipped(self) -> None:
        sampler = Diffusion(EulerDiscreteScheduler(**BETAS).config).sampler(5)
        _, preview = sampler.step(torch.zeros(1, 4, 8, 8), 4, torch.full((1, 4, 8, 8), 3.0))
        assert preview.min() > 2


class TestZeroTerminalSNR:
    def test_v_is_well_defined_where_nothing_of_the_picture_is_left(self) -> None:
        config = scheduler(
            prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", steps_offset=0
        ).config
        process, clean, noise, last = Diffusion(config), drawn(1), drawn(2), torch.tensor([999, 999])
        assert torch.equal(process.renoise(clean, noise, last), noise)
        assert torch.equal(process.target(clean, noise, last), -clean)
        sampler = process.sampler(10)
        assert sampler.timesteps[0] == 999
        stepped, preview = sampler.step(-clean, 0, noise)
        torch.testing.assert_close(preview, clean)
        torch.testing.assert_close(stepped, process.renoise(clean, noise, torch.tensor([899, 899])))

    def test_epsilon_is_refused_with_the_reason(self) -> None:
        with pytest.raises(JobFailure, match="pure noise") as failure:
            Diffusion(scheduler(rescale_betas_zero_snr=True).config)
        assert failure.value.code == "base_unloadable"

    def test_an_unknown_prediction_is_refused(self) -> None:
        with pytest.raises(JobFailure, match="'sample'"):
            Diffusion(scheduler(prediction_type="sample").config)
