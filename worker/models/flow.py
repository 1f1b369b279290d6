"""The process of sd3 and flux: x_t = (1−σ) x_0 + σ ε, predicted as v = ε − x_0 (rectified flow), walked by Euler.

The shift. A place u ∈ (0, 1] of the unshifted schedule has σ = s u / (1 + (s − 1) u): static with the config's `shift`,
dynamic with s = e^μ, μ linear in the number of image tokens, so larger pictures get more noise (SD3, arXiv 2403.03206).
Training places are u = 1/T … 1 with the shift applied once. Walks use diffusers' own σ: for a static shift those of the
SD3 pipeline are shifted twice at their lower end (its scheduler shifts bounds that are shifted already), which we keep.
"""

from collections.abc import Callable, Sequence

from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.configuration_utils import FrozenDict
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

OwnSigmas = Callable[[int], Sequence[float]]


class FlowEuler:
    """The arithmetic of `FlowMatchEulerDiscreteScheduler.step`, by index and without its counter. σ is fp32 throughout."""

    def __init__(self, scheduler: FlowMatchEulerDiscreteScheduler) -> None:
        self.sigmas: Tensor = scheduler.sigmas
        self.timesteps: tuple[float, ...] = tuple(scheduler.timesteps.tolist())

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> tuple[Tensor, Tensor]:
        now, then = self.sigmas[index], self.sigmas[index + 1]
        latents = latents.float()
        following, preview = latents + (then - now) * prediction, latents - now * prediction
        return following.to(prediction.dtype), preview.to(prediction.dtype)

    def stochastic(self, prediction: Tensor, index: int, latents: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """Flow-GRPO's SDE (arXiv 2505.05470, Eq. 9) in Euler–Maruyama, mean in fp32; eta is its noise level a.

        dx = [v + σ_t²/(2t) (x + (1−t) v)] dt + σ_t dw with σ_t = a √(t/(1−t)). At t = 1 that is unbounded: the next
        t stands in for it there, as in the authors' code. A step that ends at σ = 0 is `step`, whatever a is: its noise
        would stay in the picture that is judged, and no later step could take it out.
        """
        t, then = self.sigmas[index], self.sigmas[index + 1]
        eta = eta if then > 0 else 0.0
        latents, v = latents.float(), prediction.float()
        spread = eta * (t / (1 - (t if t < 1 else self.sigmas[1]))) ** 0.5
        pull = spread**2 / (2 * t)
        mean = latents * (1 + pull * (then - t)) + v * (1 + pull * (1 - t)) * (then - t)
        return mean, (spread * (t - then) ** 0.5).to(mean.device)


class Flow:
    """`tokens`: image tokens of a picture; `own_sigmas`: what the pipeline hands its scheduler in place of the default."""

    def __init__(self, config: FrozenDict, tokens: int, own_sigmas: OwnSigmas | None = None) -> None:
        self._config, self._own_sigmas = config, own_sigmas
        scheduler = self._scheduler()
        words = scheduler.config
        self._mu = calculate_shift(
            tokens, words.base_image_seq_len, words.max_image_seq_len, words.base_shift, words.max_shift
        )
        self.train_timesteps: int = words.num_train_timesteps
        places = scheduler.sigmas.flip(0)  # shifted already where the shift is static
        sigmas = scheduler.time_shift(self._mu, 1.0, places) if words.use_dynamic_shifting else places
        self._times = sigmas * self.train_timesteps

    def _scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        return FlowMatchEulerDiscreteScheduler.from_config(self._config, stochastic_sampling=False)

    def sampler(self, steps: int) -> FlowEuler:
        scheduler = self._scheduler()
        sigmas = self._own_sigmas(steps) if self._own_sigmas else None
        scheduler.set_timesteps(steps, sigmas=sigmas, mu=self._mu)
        return FlowEuler(scheduler)

    def times(self, t: Tensor) -> Tensor:
        """The model's time, 1000 σ, of a place in the training schedule; a time is left as it is."""
        if t.is_floating_point():
            return t
        self._times = self._times.to(t.device)
        return self._times[t]

    def renoise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """fp32: bf16 would round σ to 8 bits, and the network is told the exact time."""
        sigma = (self.times(t) / self.train_timesteps).float().view(-1, 1, 1, 1)
        return (1 - sigma) * clean.float() + sigma * noise.float()

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise - clean
