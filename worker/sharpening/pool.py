"""Pictures made once for each prompt by the frozen base, and remembered: for methods that learn from a fixed set.

A prompt's pictures are drawn in the first update that uses it, and its seeds are a function of its place in the job's
list: the set is the same however the updates meet it, and each picture is paid for once.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worker.sharpening.rng import key
from worker.sharpening.rollout import Candidates, search
from worker.sharpening.update import Memory
from worker.sharpening.world import Settings, World


def pooled(
    world: World, settings: Settings, memory: Memory, prompts: Sequence[int], *, judged: int
) -> tuple[Memory, Candidates]:
    """n base pictures of each prompt, drawn now or before, with `judged` rewards each."""
    place_of = {prompt: place for place, prompt in enumerate(prompts)}  # a prompt may come twice in an update
    missing = [place for prompt, place in place_of.items() if f"pool/{prompt}" not in memory.tensors]
    if missing:
        memory = drawn(world, settings, memory, prompts, missing, judged)
    names = [str(prompt) for prompt in prompts]
    clean = torch.stack([memory.tensors[f"pool/{name}"] for name in names]).to(world.device)
    rewards = torch.stack([memory.tensors[f"pool-rewards/{name}"] for name in names])
    return memory, Candidates(torch.stack([seeds(settings, prompt) for prompt in prompts]), clean, rewards)


def drawn(  # noqa: PLR0917 — an update's parts, in their order
    world: World, settings: Settings, memory: Memory, prompts: Sequence[int], missing: Sequence[int], judged: int
) -> Memory:
    """The memory with the pictures of the prompts at these places."""
    places = torch.tensor(missing)
    here = replace_prompts(world, places)
    with world.reference():
        found = search(
            here, settings, torch.stack([seeds(settings, prompts[place]) for place in missing]), judged=judged
        )
    tensors = dict(memory.tensors)
    for row, place in enumerate(missing):
        tensors[f"pool/{prompts[place]}"] = found.clean[row].cpu()
        tensors[f"pool-rewards/{prompts[place]}"] = found.rewards[row]
    return replace(memory, tensors=tensors)


def replace_prompts(world: World, places: Tensor) -> World:
    """The world whose prompt number i is this one's number places[i]."""

    def denoise(latents: Tensor, t: Tensor, prompt: Tensor, guidance: float) -> Tensor:
        return world.denoise(latents, t, places.to(prompt.device)[prompt], guidance)

    def reward(pictures: Tensor, prompt: Tensor) -> Tensor:
        return world.reward(pictures, places.to(prompt.device)[prompt])

    return replace(world, denoise=denoise, reward=reward)


def seeds(settings: Settings, prompt: int) -> Tensor:
    """int64 [n]: of the prompt at this place of the job's list."""
    return torch.tensor([key(settings.seed, 0, prompt, "pool", place) for place in range(settings.candidates)])
