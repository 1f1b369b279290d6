"""Two rivals that learn from pictures made once by the base: Diffusion-DPO (arXiv 2311.12908), and plain fine-tuning."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from worker.sharpening.denoising import fitted
from worker.sharpening.pool import pooled
from worker.sharpening.preference import prefer
from worker.sharpening.selection import Chosen, all_places, best, best_alone, best_and_worst, preferred
from worker.sharpening.update import Memory, Step, judged
from worker.sharpening.world import Settings, World


def diffusion_dpo_step(settings: Settings, world: World, memory: Memory, update: int, prompts: Sequence[int]) -> Step:
    """The preference loss on each prompt's best and worst base picture, judged finished. Their (t, ε) are fresh."""
    memory, pool = pooled(world, settings, memory, prompts, best_and_worst, judged=1)
    chosen = preferred(pool.scores, pool.seeds)
    seen = replace(judged(pool.rewards[..., -1]), ties=len(prompts) - len(chosen))
    return prefer(world, settings, memory, update, pool.clean, pool.kept(chosen), seen)


def plain_sft_step(  # noqa: PLR0917 — two hyper-parameters, then what every method takes
    settings: Settings, anchor: float, keep_all: bool, world: World, memory: Memory, update: int, prompts: Sequence[int]
) -> Step:
    """The denoising loss on each prompt's best base picture, or on all of them."""
    memory, pool = pooled(world, settings, memory, prompts, all_places if keep_all else best_alone, judged=1)
    chosen = everyone(pool.scores.shape) if keep_all else best(pool.scores, pool.seeds)
    return fitted(settings, anchor, world, memory, update, pool, chosen)


def everyone(shape: tuple[int, ...]) -> Chosen:
    """All n candidates of all P prompts, alike."""
    prompts, n = shape
    weight = torch.ones(prompts, n, dtype=torch.float64)
    return Chosen(torch.arange(prompts), torch.arange(n).expand(prompts, n), weight)
