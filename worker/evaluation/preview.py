"""Whether a small preview decoder (TAESD) chooses what the VAE would: search judges previews, and only their order counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from worker.evaluation.draw import denoise, noise
from worker.evaluation.score import rewards_of
from worker.models.family import Family
from worker.rewards.reward import Reward


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over prompts: the share whose best (worst) candidate is the same, and the mean correlation within a prompt.

    Prompts whose candidates all score alike say nothing and are left out; `prompts` are those that are left.
    """

    prompts: int
    best: float
    worst: float
    correlation: float


def agreement(by_vae: np.ndarray, by_preview: np.ndarray) -> Agreement:
    """Scores [P, n] of the same candidates, decoded by the one and by the other. Raises ValueError where nothing is left."""
    told = (np.ptp(by_vae, axis=1) > 0) & (np.ptp(by_preview, axis=1) > 0)
    if not told.any():
        raise ValueError("no prompt has candidates of different scores: there is no order to agree on")
    one, other = by_vae[told].astype(float), by_preview[told].astype(float)
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)]
    return Agreement(
        prompts=int(told.sum()),
        best=float((one.argmax(axis=1) == other.argmax(axis=1)).mean()),
        worst=float((one.argmin(axis=1) == other.argmin(axis=1)).mean()),
        correlation=float(np.mean(correlations)),
    )


def preview_agreement(
    family: Family, reward: Reward, prompts: Sequence[str], *, candidates: int, steps: int, guidance: float = 1.0
) -> Agreement:
    """Draw `candidates` latents of each prompt (seeds 0, 1, …), decode each both ways, and compare how `reward` ranks them."""
    scores: list[list[np.ndarray]] = [[], []]
    with torch.no_grad():
        for place, prompt in enumerate(prompts):
            texts = [prompt] * candidates
            start = noise(family, range(place * candidates, (place + 1) * candidates))
            latents = denoise(family, start, family.encode(texts), guidance=guidance, steps=steps)
            for decode, found in zip((family.decode, family.decode_preview), scores, strict=True):
                found.append(rewards_of(reward, decode(latents).numpy(), texts))
    return agreement(*(np.stack(found) for found in scores))
