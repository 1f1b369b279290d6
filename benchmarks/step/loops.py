"""The SFT step twice, on one prompt: the published loop, and search-then-recompute out of the product's own parts.

n candidates walk m sampler steps from one place; the best by the summed reward of its previews gets the denoising loss,
averaged over its m states (Eq. 9 of arXiv 2502.12146; target ε at every state, as the published code has it).
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worker.models.ddim import Diffusion
from worker.sharpening.objective import error
from worker.sharpening.trajectory import walk_from
from worker.sharpening.world import Settings, World

CANDIDATES, LENGTH, WALK_STEPS = 3, 3, 50


@dataclass(frozen=True, slots=True)
class Bench:
    """One denoiser with what judges its previews; `inputs` are its other arguments for one row, by name."""

    denoiser: nn.Module
    parameters: tuple[Tensor, ...]
    process: Diffusion
    latent_shape: tuple[int, int, int]
    inputs: Callable[[int], dict[str, object]]
    judge: Callable[[Tensor], Tensor]  # previews [B, C, H, W] → rewards [B] on the CPU

    @property
    def device(self) -> torch.device:
        return self.parameters[0].device

    def denoise(self, latents: Tensor, t: Tensor) -> Tensor:
        dtype = next(self.denoiser.parameters()).dtype
        return self.denoiser(latents.to(dtype), t, **self.inputs(len(latents)), return_dict=False)[0]

    def settings(self) -> Settings:
        return Settings(
            seed=0, micro_batch=CANDIDATES, candidates=CANDIDATES, rollout_steps=WALK_STEPS, rollout_guidance=1.0,
            trajectory_length=LENGTH, walk_steps=WALK_STEPS,
        )  # fmt: skip

    def world(self) -> World:
        """Only what a walk and a denoising loss ask of a world is more than a stand-in."""
        return World(
            device=self.device,
            latent_shape=self.latent_shape,
            train_timesteps=self.process.train_timesteps,
            parameters=self.parameters,
            sampler=self.process.sampler,
            denoise=lambda latents, t, prompt, guidance: self.denoise(latents, t),
            reference=nullcontext,
            searching=nullcontext,
            wearing=lambda values: nullcontext(),
            coefficients=lambda t: (t, t),
            renoise=self.process.renoise,
            target=self.process.target,
            decode=lambda latents: latents,
            reward=lambda previews, prompt: self.judge(previews),
            images=lambda place: torch.empty(0),
        )


def published(bench: Bench, clean: Tensor, noise: Tensor, start: int, *, detach: bool) -> tuple[Tensor, ...]:
    """Every candidate with its graph, all at once; then the best one's loss, so two thirds of the backward are zeros.

    `detach`: without the back-propagation through the sampler's steps, which the published code has and Eq. 9 has not.
    """
    sampler = bench.process.sampler(WALK_STEPS)
    t = torch.full((len(clean),), sampler.timesteps[start], device=bench.device)
    x = bench.process.renoise(clean, noise, t)
    losses, rewards = [], []
    for index in range(start, start + LENGTH):
        t = torch.full((len(clean),), sampler.timesteps[index], device=bench.device)
        prediction = bench.denoise(x, t)
        losses.append(error(prediction, noise))
        following, preview = sampler.step(prediction, index, x)
        rewards.append(bench.judge(preview))
        x = following.detach() if detach else following
    best = int(torch.stack(rewards).sum(dim=0).argmax())
    return torch.autograd.grad(torch.stack(losses)[:, best].mean(), bench.parameters)


def search_then_recompute(bench: Bench, clean: Tensor, noise: Tensor, start: int) -> tuple[Tensor, ...]:
    """`trajectory.walk_from` without gradients, then the m chosen states once more with them."""
    rows = torch.zeros(len(clean), dtype=torch.long)
    walked = walk_from(bench.world(), bench.settings(), clean, noise, rows + start, rows.to(bench.device))
    best = int(walked.rewards.sum(dim=1).argmax())
    target = noise[best].expand(LENGTH, *bench.latent_shape)
    loss = error(bench.denoise(walked.states[best], walked.t[best]), target).mean()
    return torch.autograd.grad(loss, bench.parameters)
