"""The process of sd and sdxl: x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε, predicted as ε or v, walked by DDIM (arXiv 2010.02502).

Whatever scheduler the folder names (PNDM, Euler, DPM-Solver, …), its betas, spacing and offset are kept and DDIM walks
them: it is deterministic, needs one prediction a step and has the stochastic step that policy gradients need. Samples are
never clipped: `clip_sample` is DDIM's default for pixels, and a latent is not bounded by 1.
"""

import torch
from diffusers import DDIMScheduler
from diffusers.configuration_utils import FrozenDict
from torch import Tensor

from service.domain.errors import JobFailure


class DDIM:
    """Stock `DDIMScheduler.step` takes one timestep for the whole batch; so does a walk, by its index."""

    def __init__(self, config: FrozenDict, steps: int) -> None:
        self._scheduler = DDIMScheduler.from_config(config)
        self._scheduler.set_timesteps(steps)
        self.timesteps: tuple[int, ...] = tuple(self._scheduler.timesteps.tolist())

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> tuple[Tensor, Tensor]:
        stepped = self._scheduler.step(prediction, self.timesteps[index], latents)
        return stepped.prev_sample, stepped.pred_original_sample

    def stochastic(self, prediction: Tensor, index: int, latents: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """Eq. 12 and 16 with η = eta; 1 is DDPM's ancestral step.

        The last step is `step`, whatever eta is: where the schedule does not end at α = 1 (`set_alpha_to_one: false`, as SD 1.5 has it)
        its noise would stay in the picture that is judged, and no later step could take it out.
        """
        eta = eta if index + 1 < len(self.timesteps) else 0.0
        t = self.timesteps[index]
        still = torch.zeros_like(prediction)
        mean = self._scheduler.step(prediction, t, latents, eta=eta, variance_noise=still).prev_sample
        before = t - self._scheduler.config.num_train_timesteps // len(self.timesteps)
        return mean, (eta * self._scheduler._get_variance(t, before) ** 0.5).to(mean.device)


class Diffusion:
    """Raises JobFailure `base_unloadable` for what DDIM cannot walk."""

    def __init__(self, config: FrozenDict) -> None:
        if not {"beta_schedule", "trained_betas"} & config.keys():
            raise JobFailure(
                "the base model's scheduler has no betas (neither beta_schedule nor trained_betas: an EDM model, such as "
                "Playground v2.5 or CosXL), and DDIM's own would not be those that it was trained with: choose a base model "
                "of ε or v whose scheduler has betas",
                code="base_unloadable",
            )
        self.scheduler = DDIMScheduler.from_config(config, clip_sample=False)
        self.train_timesteps: int = self.scheduler.config.num_train_timesteps
        self.predicts_v = self.scheduler.config.prediction_type == "v_prediction"
        if not self.predicts_v and self.scheduler.config.prediction_type != "epsilon":
            raise JobFailure(
                f"the base model predicts {self.scheduler.config.prediction_type!r}; known are epsilon and v_prediction",
                code="base_unloadable",
            )
        if not self.predicts_v and self.scheduler.alphas_cumprod[-1] == 0:
            raise JobFailure(
                "the base model predicts ε under a schedule that ends in pure noise (rescale_betas_zero_snr), where ε says "
                "nothing of the picture: use a v-prediction model, or take rescale_betas_zero_snr out of its scheduler",
                code="base_unloadable",
            )

    def sampler(self, steps: int) -> DDIM:
        return DDIM(self.scheduler.config, steps)

    def times(self, t: Tensor) -> Tensor:
        return t

    def renoise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self.scheduler.add_noise(clean.float(), noise.float(), t)

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self.scheduler.get_velocity(clean, noise, t) if self.predicts_v else noise
