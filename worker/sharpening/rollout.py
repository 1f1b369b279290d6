"""Candidates: draw n pictures of each prompt; score every one on the states that its own rollout passed through."""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.sharpening.rng import key
from worker.sharpening.world import Settings, World, at


@dataclass(frozen=True, slots=True)
class Candidates:
    """n finished trajectories of each of P prompts."""

    seeds: Tensor  # int64 [P, n], on the CPU: all the chance there is in a rollout
    clean: Tensor  # [P, n, C, H, W]: the last state's x̂_0
    rewards: Tensor  # float64 [P, n, m], on the CPU: R at the judged states, in the order of the walk

    @property
    def scores(self) -> Tensor:
        """S = Σ over the m states of R: Eq. 8. [P, n]"""
        return self.rewards.sum(dim=-1)


def candidate_seeds(settings: Settings, update: int, prompts: int) -> Tensor:
    """int64 [P, n]"""
    rows = [
        [key(settings.seed, update, prompt, "candidate", place) for place in range(settings.candidates)]
        for prompt in range(prompts)
    ]
    return torch.tensor(rows)


@torch.no_grad()
def search(world: World, settings: Settings, seeds: Tensor, *, judged: int = 1) -> Candidates:
    """Roll out every seed of every prompt, `search_batch` rows at a time, and judge the last `judged` states (0: none)."""
    prompts, n = seeds.shape
    prompt = torch.arange(prompts).repeat_interleave(n)
    size = settings.search_batch
    parts = [slice(start, start + size) for start in range(0, len(prompt), size)]
    with world.searching():
        walks = [
            walk(world, settings, noise(world, seeds.view(-1)[rows]), prompt[rows].to(world.device), judged)
            for rows in parts
        ]
    clean, rewards = (torch.cat(rows) for rows in zip(*walks, strict=True))
    return Candidates(seeds, clean.view(prompts, n, *clean.shape[1:]), rewards.view(prompts, n, -1))


def walk(world: World, settings: Settings, latents: Tensor, prompt: Tensor, judged: int) -> tuple[Tensor, Tensor]:
    """(x̂_0 of the last state [B, C, H, W], rewards at the last `judged` states [B, judged])"""
    sampler = world.sampler(settings.rollout_steps)
    rewards = [torch.zeros(len(prompt), 0)]
    for index, t in enumerate(sampler.timesteps):
        prediction = world.denoise(latents, at(t, prompt), prompt, settings.rollout_guidance)
        latents, preview = sampler.step(prediction, index, latents)
        if index >= len(sampler.timesteps) - judged:
            rewards.append(world.reward(world.decode(preview), prompt).cpu().unsqueeze(1))
    return preview, torch.cat(rewards, dim=1).double()


def noise(world: World, seeds: Tensor) -> Tensor:
    """x_T: [B, C, H, W], each row from its own seed."""
    rows = [torch.randn(world.latent_shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()]
    return torch.stack(rows).to(world.device)
