"""The losses by brute force: every candidate, every noise level, one at a time, with every graph kept."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tests.worker.sharpening.toy import LEVELS, SHAPE, Toy, renoise
from worker.sharpening.objective import error
from worker.sharpening.rng import generator
from worker.sharpening.world import Settings


def pair(scores: Tensor) -> Tensor:
    """1 for the best of each prompt's, −1 for the worst. [P, n]"""
    weight = torch.zeros_like(scores)
    weight.scatter_(1, scores.argmin(dim=1, keepdim=True), -1.0)
    return weight.scatter_(1, scores.argmax(dim=1, keepdim=True), 1.0)


def path_weights(scores: Tensor, temperature: float) -> Tensor:
    """exp(S/λ)/Σ − exp(−S/λ)/Σ, λ in standard deviations of a prompt's scores. [P, n]"""
    scaled = scores / scores.std(dim=1, correction=0, keepdim=True) / temperature
    more, less = scaled.exp(), (-scaled).exp()
    return more / more.sum(dim=1, keepdim=True) - less / less.sum(dim=1, keepdim=True)


def levels(own: Settings, update: int, prompt: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(t [1], ε [1, C, H, W]) of a prompt: one t in each part of the schedule, ε fresh."""
    spread = torch.rand(own.levels, generator=generator(own.seed, update, prompt, "t"))
    noise = torch.randn((own.levels, *SHAPE), generator=generator(own.seed, update, prompt, "ε"))
    for level in range(own.levels):
        share = own.least_noise + (1 - own.least_noise) * (level + spread[level].item()) / own.levels
        yield torch.tensor([int(share * LEVELS)]), noise[level : level + 1]


def preference(  # noqa: PLR0917 — what the loss is of
    toy: Toy, own: Settings, update: int, clean: Tensor, weight: Tensor, beta: float
) -> Tensor:
    """−log σ(−β Σ w·Δ), Δ in units of the reference's own error, with the graphs of all n candidates: the paper's code."""
    losses = []
    for prompt in range(len(clean)):
        for t, noise in levels(own, update, prompt):
            where, gap, unit = torch.tensor([prompt]), torch.zeros(1), torch.zeros(1)
            for place, candidate in enumerate(clean[prompt]):
                x = renoise(candidate.unsqueeze(0), noise, t)
                policy = error(toy.denoise(x, t, where, own.loss_guidance), noise)
                with torch.no_grad(), toy.reference():
                    reference = error(toy.denoise(x, t, where, own.loss_guidance), noise)
                gap = gap + weight[prompt, place] * (policy - reference)
                unit = unit + weight[prompt, place].abs() * reference
            unit = unit / weight[prompt].abs().sum()
            losses.append(-torch.nn.functional.logsigmoid(-beta * gap / unit))
    return torch.cat(losses).mean()


def gradient(loss: Tensor, toy: Toy) -> Tensor:
    return torch.autograd.grad(loss, toy.theta)[0]


def distance(found: Tensor, expected: Tensor) -> float:
    """Relative, and infinite where there is nothing to compare with."""
    size = expected.norm().item()
    return (found - expected).norm().item() / size if size > 1e-6 else float("inf")
