"""Trajectories as the paper has them: noise a clean latent to one t, then walk m sampler steps; those m states are judged.

Without gradients: the states are what the loss is recomputed on afterwards. Rows may start at different places of the
schedule; the denoiser sees them in one call, the sampler's arithmetic is done for each place by itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.sharpening.rng import generator
from worker.sharpening.world import Sampler, Settings, World


@dataclass(frozen=True, slots=True)
class Trajectories:
    """m states of each of B walks, with what was seen from them."""

    t: Tensor  # int64 [B, m]
    states: Tensor  # x_t [B, m, C, H, W]
    rewards: Tensor  # R(x̂_0(x_t)) float64 [B, m], on the CPU


def starts(world: World, settings: Settings, update: int, prompts: int) -> Tensor:
    """Where each prompt's walk starts: an index into the schedule of `walk_steps`, m steps before its end at the latest.

    One for each prompt, uniform over the steps whose noise is at least `least_noise` of the schedule; not the first where
    that is pure noise (flow models, zero-terminal-SNR): nothing is left of the picture there. Where it is the only one,
    the job has been refused before (training/walks.py). int64 [P]
    """
    timesteps = torch.tensor(world.sampler(settings.walk_steps).timesteps)
    steps = len(timesteps)
    last = min(int((1 - settings.least_noise) * steps), steps - settings.trajectory_length + 1)
    signal, _ = world.coefficients(timesteps[:1].to(world.device))
    first = int(signal.item() == 0 and last > 1)
    drawn = [
        torch.rand((), generator=generator(settings.seed, update, prompt, "t")).item() for prompt in range(prompts)
    ]
    return torch.tensor([min(first + int(share * (last - first)), last - 1) for share in drawn])


@torch.no_grad()
def walk_from(  # noqa: PLR0917 — rows of one table
    world: World, settings: Settings, clean: Tensor, noise: Tensor, index: Tensor, prompt: Tensor
) -> Trajectories:
    """From x_t = q(clean, noise) at each row's place of the schedule, m steps of the sampler with the policy as it is."""
    sampler = world.sampler(settings.walk_steps)
    timesteps = torch.tensor(sampler.timesteps)
    parts = []
    with world.searching():
        for start in range(0, len(clean), settings.search_batch):
            rows = slice(start, start + settings.search_batch)
            parts.append(
                _walk(world, settings, sampler, timesteps, clean[rows], noise[rows], index[rows], prompt[rows])
            )
    t, states, rewards = (torch.cat(column) for column in zip(*parts, strict=True))
    return Trajectories(t, states, rewards)


def _walk(  # noqa: PLR0917 — rows of one table
    world: World, settings: Settings, sampler: Sampler, timesteps: Tensor, clean: Tensor, noise: Tensor, index: Tensor,
    prompt: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    latents = world.renoise(clean, noise, timesteps[index].to(world.device))
    times, states, rewards = [], [], []
    for _ in range(settings.trajectory_length):
        t = timesteps[index].to(world.device)
        prediction = world.denoise(latents, t, prompt, settings.rollout_guidance)
        times.append(t)
        states.append(latents)
        latents, preview = _stepped(sampler, prediction, index, latents)
        rewards.append(world.reward(world.decode(preview), prompt).cpu())
        index = index + 1
    return torch.stack(times, dim=1), torch.stack(states, dim=1), torch.stack(rewards, dim=1).double()


def _stepped(sampler: Sampler, prediction: Tensor, index: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """One step for rows that stand at different places."""
    following, previews = torch.empty_like(latents), torch.empty_like(latents)
    for place in sorted(set(index.tolist())):
        rows = torch.nonzero(index == place).squeeze(1).to(latents.device)
        moved, preview = sampler.step(prediction[rows], place, latents[rows])
        following[rows], previews[rows] = moved.to(latents.dtype), preview.to(latents.dtype)
    return following, previews
