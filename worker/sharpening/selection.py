"""Which trajectories of a prompt enter the loss. Each prompt is judged by itself: prompts never mix."""

from dataclasses import dataclass

import torch
from torch import Tensor

TIE = 1e-6


@dataclass(frozen=True, slots=True)
class Pairs:
    """One pair for each prompt whose candidates differ; K ≤ P. All int64 [K]."""

    prompt: Tensor
    best: Tensor  # places among the prompt's candidates
    worst: Tensor


def best_and_worst(scores: Tensor, seeds: Tensor) -> Pairs:
    """arg max and arg min of S [P, n]. A gap ≤ 1e-6 gives no pair; equal scores are told apart by the smaller seed."""
    by_seed = seeds.argsort(dim=1)
    ranked = scores.gather(
        1, by_seed
    )  # so that the first of equals is the one with the smallest seed, wherever it stood
    best = by_seed.gather(1, ranked.argmax(dim=1, keepdim=True)).squeeze(1)
    worst = by_seed.gather(1, ranked.argmin(dim=1, keepdim=True)).squeeze(1)
    gap = ranked.amax(dim=1) - ranked.amin(dim=1)
    prompt = torch.nonzero(gap > TIE).squeeze(1)
    return Pairs(prompt, best[prompt], worst[prompt])
