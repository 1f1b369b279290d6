"""Fixed-seed drawing: a picture depends on its prompt, seed, guidance and steps, and on no other picture.

The starting noise is what plain diffusers draws with `generator=[torch.Generator("cpu").manual_seed(seed), …]`, so its
pictures can be laid beside ours. In another batch size a picture differs by the rounding of the denoiser (about 1e-6).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.models.family import Conditions, Family


@dataclass(frozen=True, slots=True)
class Drawing:
    """pictures uint8 [B, H, W, 3]; nfe is what one of them cost, counted."""

    pictures: np.ndarray
    nfe: int


def draw(
    family: Family,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    guidance: float = 1.0,
    steps: int = 20,
    negatives: Sequence[str] | None = None,
    batch_size: int = 64,
) -> Drawing:
    """One picture for each (prompt, seed), in their order, with whatever adapter the family wears."""
    before = family.counter.total
    pictures = []
    for start in range(0, len(prompts), batch_size):
        rows = slice(start, start + batch_size)
        conditions = family.encode(prompts[rows], negatives[rows] if negatives else None)
        latents = denoise(family, noise(family, seeds[rows]), conditions, guidance=guidance, steps=steps)
        pictures.append(family.decode(latents))
    spent = family.counter.total - before
    return Drawing(torch.cat(pictures).numpy(), spent.nfe // len(prompts))


@torch.no_grad()
def denoise(family: Family, latents: Tensor, conditions: Conditions, *, guidance: float, steps: int) -> Tensor:
    """From noise to clean latents [B, *latent_shape]."""
    sampler = family.sampler(steps)
    for index, t in enumerate(sampler.timesteps):
        prediction = family.predict(latents, t, conditions, guidance)
        latents, _ = sampler.step(prediction, index, latents)
    return latents


def noise(family: Family, seeds: Sequence[int]) -> Tensor:
    """[B, *latent_shape]: each row from its own seed, drawn on the CPU in the model's dtype, as diffusers draws it."""
    rows = [
        torch.randn((1, *family.latent_shape), generator=torch.Generator("cpu").manual_seed(seed), dtype=family.dtype)
        for seed in seeds
    ]
    return torch.cat(rows).to(family.device)
