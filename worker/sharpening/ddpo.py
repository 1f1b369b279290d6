"""DDPO (arXiv 2305.13301), the rival that treats denoising as a decision process; Flow-GRPO (2505.05470) for flow models.

Each batch, for every prompt: n stochastic rollouts; A = (R − mean)/std over the prompt's n. Then `steps_per_batch` updates,
each on its share of the rollouts, all T steps of each:
  L = mean over steps of max(−A ρ, −A clip(ρ, 1 ± ε)),  ρ = π_θ(x_{t−1}|x_t)/π_old(x_{t−1}|x_t)
log π is the Gaussian's, averaged over elements as in the authors' code (so that ε is of the size 1e-4 to 1e-2). With
guidance in the rollouts it is in ρ too. The last step, whose standard deviation is 0 where it ends in the picture, is left
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.sharpening.gradient import accumulated
from worker.sharpening.rng import generator
from worker.sharpening.rollout import candidate_seeds, noise
from worker.sharpening.update import Memory, Metrics, Step, judged
from worker.sharpening.world import Settings, World, at

LEAST_SPREAD = 1e-8


@dataclass(frozen=True, slots=True)
class Batch:
    """P·n rollouts of T judged steps, with what the old policy thought of them."""

    states: Tensor  # x_t [P·n, T + 1, C, H, W]
    means: Tensor  # the old policy's mean of x_{t−1} [P·n, T, C, H, W]
    rewards: Tensor  # float64 [P, n], on the CPU: not every device has float64


def ddpo_step(  # noqa: PLR0917 — hyper-parameters, then what every method takes
    settings: Settings, noise_level: float, clip_range: float, steps_per_batch: int, world: World, memory: Memory,
    update: int, prompts: Sequence[int],
) -> Step:  # fmt: skip
    """One update; its batch is drawn in the first of `steps_per_batch` updates, and remembered for the others, beside the device:
    at 1024 px it has 0.5 (SDXL) to 2 GiB (SD3, FLUX)."""
    share = update % steps_per_batch
    if share == 0:
        batch = rollouts(world, settings, noise_level, update, len(prompts))
    else:
        states, means, rewards = (memory.tensors[f"batch/{name}"] for name in Batch.__slots__)
        batch = Batch(states.to(world.device), means.to(world.device), rewards)
    if share == steps_per_batch - 1:
        memory = replace(memory, tensors={})
    elif share == 0:
        memory = replace(memory, tensors={f"batch/{name}": getattr(batch, name).cpu() for name in Batch.__slots__})
    advantage = advantages(batch.rewards)
    seen = judged(batch.rewards) if share == 0 else Metrics()
    seen = replace(seen, ties=int((advantage == 0).all(dim=1).sum()))
    n = settings.candidates
    mine = [prompt * n + place for prompt in range(len(prompts)) for place in range(share, n, steps_per_batch)]
    rows = torch.tensor([row for row in mine if advantage.view(-1)[row] != 0], dtype=torch.long)
    if not len(rows):
        return Step(None, memory, seen)
    gradient, loss = policy_gradient(world, settings, noise_level, clip_range, batch, rows, advantage.view(-1)[rows])
    return Step(gradient, memory, replace(seen, loss=loss))


@torch.no_grad()
def rollouts(world: World, settings: Settings, noise_level: float, update: int, prompts: int) -> Batch:
    """n stochastic rollouts of each prompt with the policy as it is, rewarded when finished."""
    n, sampler = settings.candidates, world.sampler(settings.rollout_steps)
    prompt = torch.arange(prompts).repeat_interleave(n)
    start = noise(world, candidate_seeds(settings, update, prompts).view(-1))
    kept = []
    with world.searching():
        for begin in range(0, len(prompt), settings.micro_batch):
            rows = torch.arange(begin, min(begin + settings.micro_batch, len(prompt)))
            latents, words = start[rows], prompt[rows].to(world.device)
            states, means = [latents], []
            for index, t in enumerate(sampler.timesteps):
                prediction = world.denoise(latents, at(t, words), words, settings.rollout_guidance)
                mean, spread = sampler.stochastic(prediction, index, latents, noise_level)
                fresh = torch.stack([chance(world, settings, update, int(row), index) for row in rows])
                latents = (mean + spread * fresh.to(mean)).to(latents.dtype)
                states.append(latents)
                means.append(mean)
            rewards = world.reward(world.decode(latents), words).cpu().double()
            kept.append((torch.stack(states, dim=1), torch.stack(means, dim=1), rewards))
    walked, thought, judged_ = (torch.cat(column) for column in zip(*kept, strict=True))
    return Batch(walked, thought, judged_.view(prompts, n))


def chance(world: World, settings: Settings, update: int, row: int, index: int) -> Tensor:
    prompt, place = divmod(row, settings.candidates)
    draw = generator(settings.seed, update, prompt, f"sde/{place}", index)
    return torch.randn(world.latent_shape, generator=draw).to(world.device)


def advantages(rewards: Tensor) -> Tensor:
    """(R − mean)/std over a prompt's n; 0 where they do not differ. [P, n]"""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    deviation = centred.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(deviation > 1e-6, centred / deviation.clamp(min=1e-6), torch.zeros_like(centred))


def policy_gradient(  # noqa: PLR0917 — an update's parts, in their order
    world: World,
    settings: Settings,
    noise_level: float,
    clip_range: float,
    batch: Batch,
    rows: Tensor,
    advantage: Tensor,
) -> tuple[tuple[Tensor, ...], float]:
    """∇θ of the clipped loss over all steps of these rollouts, and its mean. `advantage`: [rows]"""
    sampler, n = world.sampler(settings.rollout_steps), settings.candidates
    timesteps = sampler.timesteps
    prompt = (rows // n).to(world.device)
    steps = [(row, index) for row in range(len(rows)) for index in range(len(timesteps) - 1)]
    steps.sort(key=lambda step: step[1])  # one index a call, as the sampler wants it

    def terms(part: slice) -> tuple[Tensor, ...]:
        losses = []
        for index in sorted({index for _, index in steps[part]}):
            local = torch.tensor([row for row, place in steps[part] if place == index])
            here = rows[local]
            x, following = batch.states[here, index], batch.states[here, index + 1]
            words = prompt[local.to(prompt.device)]
            prediction = world.denoise(x, at(timesteps[index], words), words, settings.rollout_guidance)
            mean, spread = sampler.stochastic(prediction, index, x, noise_level)
            ratio = (
                log_density(following, mean, spread) - log_density(following, batch.means[here, index], spread)
            ).exp()
            gain = advantage[local].to(ratio)
            losses.append(torch.maximum(-gain * ratio, -gain * ratio.clamp(1 - clip_range, 1 + clip_range)))
        return (torch.cat(losses),)

    gradient, (loss,) = accumulated(world, len(steps), settings.micro_batch, terms)
    return gradient, loss.mean().item()


def log_density(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """log of the Gaussian's density up to a constant, averaged over elements: [B]"""
    variance = spread.float().clamp(min=LEAST_SPREAD).square()
    return -((x.float() - mean.float()).square() / (2 * variance)).flatten(1).mean(dim=1)
