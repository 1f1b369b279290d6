"""Which trajectories of a prompt enter the loss, and with what weight. Each prompt is judged by itself: prompts never mix.

`argmax` is Eq. 8: the trajectory with the largest S, and for a preference the one with the smallest. `path-weights` takes
all of them with weights ∝ exp(S/λ), the path-integral form; λ is in standard deviations of the prompt's scores, so that
it means the same under every reward. Towards λ = 0 it is Eq. 8.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

TIE = 1e-6


@dataclass(frozen=True, slots=True)
class Chosen:
    """c candidates of each of K ≤ P prompts. A weight above 0 says "more of this", below 0 "less"."""

    prompt: Tensor  # int64 [K]
    place: Tensor  # int64 [K, c]: places among the prompt's candidates
    weight: Tensor  # float64 [K, c]

    def __len__(self) -> int:
        return len(self.prompt)


def preferred(scores: Tensor, seeds: Tensor, temperature: float | None = None) -> Chosen:
    """Best against worst by S [P, n]: weights (1, −1), or softmax(S/λ) − softmax(−S/λ) over all.

    A gap ≤ 1e-6 gives no pair; equal scores are told apart by the smaller seed.
    """
    prompt = differing(scores)
    scores, seeds = scores[prompt], seeds[prompt]
    if temperature is not None:
        standard = standardised(scores) / temperature
        weight = standard.softmax(dim=1) - (-standard).softmax(dim=1)
        return Chosen(prompt, torch.arange(scores.shape[1]).expand(len(prompt), -1), weight)
    return Chosen(
        prompt, best_and_worst(scores, seeds), torch.tensor([1.0, -1.0], dtype=torch.float64).expand(len(prompt), 2)
    )


def best(scores: Tensor, seeds: Tensor, temperature: float | None = None) -> Chosen:
    """The best by S [P, n] with weight 1, or all with softmax(S/λ). A prompt whose candidates do not differ is left out."""
    prompt = differing(scores)
    scores, seeds = scores[prompt], seeds[prompt]
    if temperature is not None:
        weight = (standardised(scores) / temperature).softmax(dim=1)
        return Chosen(prompt, torch.arange(scores.shape[1]).expand(len(prompt), -1), weight)
    place = best_alone(scores, seeds)
    return Chosen(prompt, place, torch.ones_like(place, dtype=torch.float64))


def best_and_worst(scores: Tensor, seeds: Tensor) -> Tensor:
    """Their places, int64 [K, 2], by S [K, n]."""
    return torch.stack([extreme(scores, seeds), extreme(-scores, seeds)], dim=1)


def best_alone(scores: Tensor, seeds: Tensor) -> Tensor:
    """int64 [K, 1]"""
    return extreme(scores, seeds).unsqueeze(1)


def all_places(scores: Tensor, seeds: Tensor) -> Tensor:
    """int64 [K, n]"""
    return torch.arange(scores.shape[1]).expand(scores.shape)


def differing(scores: Tensor) -> Tensor:
    """The prompts whose scores [P, n] are not all equal: int64 [K]"""
    return torch.nonzero(scores.amax(dim=1) - scores.amin(dim=1) > TIE).squeeze(1)


def extreme(scores: Tensor, seeds: Tensor) -> Tensor:
    """arg max of S [K, n], of equals the one with the smallest seed, wherever it stands: int64 [K]"""
    by_seed = seeds.argsort(dim=1)
    first = scores.gather(1, by_seed).argmax(dim=1, keepdim=True)
    return by_seed.gather(1, first).squeeze(1)


def standardised(scores: Tensor) -> Tensor:
    """Scores [K, n] with mean 0 and standard deviation 1 for each prompt."""
    centred = scores - scores.mean(dim=1, keepdim=True)
    return centred / centred.square().mean(dim=1, keepdim=True).sqrt()
