"""Pictures made once for each prompt by the frozen base, and remembered: for methods that learn from a fixed set.

A prompt's pictures are drawn in the first update that uses it, and its seeds are a function of its place in the job's
list: the set is the same however the updates meet it, and each picture is paid for once.

What is remembered is in memory and in every checkpoint for as long as the job lasts, so only the pictures that will be
learned from are: two of a prompt for Diffusion-DPO, one for sft and for sharpening-sft on rollouts. On walks it judges all n
anew at every update and keeps them: n latents in fp32 a prompt, at n = 8 2.1 MB for SDXL at 1024 px and 8.4 MB for SD3 and FLUX.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.sharpening.rng import key
from worker.sharpening.rollout import search
from worker.sharpening.selection import Chosen, all_places
from worker.sharpening.update import Memory
from worker.sharpening.world import Settings, World

Keep = Callable[[Tensor, Tensor], Tensor]
"""(S [P, n], seeds [P, n]) → places [P, k] of the pictures that are remembered. A function: it is asked again after a resume."""


@dataclass(frozen=True, slots=True)
class Pool:
    """All n that were judged, and the pictures of the k that were kept."""

    seeds: Tensor  # int64 [P, n], on the CPU
    rewards: Tensor  # float64 [P, n, m], on the CPU
    clean: Tensor  # [P, k, C, H, W], in the order of `Keep`

    @property
    def scores(self) -> Tensor:
        """[P, n]"""
        return self.rewards.sum(dim=-1)

    def kept(self, chosen: Chosen) -> Chosen:
        """The same choice with its places among the k: the kept are those that the choice takes, in its order."""
        return replace(chosen, place=torch.arange(self.clean.shape[1]).expand_as(chosen.place))


def pooled(
    world: World, settings: Settings, memory: Memory, prompts: Sequence[int], keep: Keep = all_places, *, judged: int
) -> tuple[Memory, Pool]:
    """n base pictures of each prompt, drawn now or before, with `judged` rewards each; of them those to `keep`."""
    place_of = {prompt: place for place, prompt in enumerate(prompts)}  # a prompt may come twice in an update
    missing = [place for prompt, place in place_of.items() if f"pool/{prompt}" not in memory.tensors]
    if missing:
        memory = drawn(world, settings, memory, prompts, missing, keep, judged)
    rewards = torch.stack([memory.tensors[f"pool-rewards/{prompt}"] for prompt in prompts])
    own = torch.stack([seeds(settings, prompt) for prompt in prompts])
    kept = zip(prompts, keep(rewards.sum(dim=-1), own), strict=True)
    clean = torch.stack([of_these(memory.tensors[f"pool/{prompt}"], places) for prompt, places in kept])
    return memory, Pool(own, rewards, clean.to(world.device))


def of_these(remembered: Tensor, places: Tensor) -> Tensor:
    """The kept pictures [k, C, H, W]; checkpoints of version 2 remember all n."""
    return remembered if len(remembered) == len(places) else remembered[places]


def drawn(  # noqa: PLR0917 — an update's parts, in their order
    world: World, settings: Settings, memory: Memory, prompts: Sequence[int], missing: Sequence[int], keep: Keep,
    judged: int,
) -> Memory:  # fmt: skip
    """The memory with the pictures of the prompts at these places."""
    places = torch.tensor(missing)
    here = replace_prompts(world, places)
    with world.reference():
        found = search(
            here, settings, torch.stack([seeds(settings, prompts[place]) for place in missing]), judged=judged
        )
    kept = keep(found.scores, found.seeds)
    tensors = dict(memory.tensors)
    clean = found.clean.cpu().to(
        torch.promote_types(found.clean.dtype, torch.float32)
    )  # a flow's are its network's type
    for row, place in enumerate(missing):
        tensors[f"pool/{prompts[place]}"] = clean[row][kept[row]]  # a copy: the others are let go
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
