"""The gradient of a mean over rows, a micro-batch at a time, so that only one's activations are held."""

from collections.abc import Callable

import torch
from torch import Tensor

from worker.sharpening.world import World


def accumulated(
    world: World, rows: int, size: int, terms: Callable[[slice], tuple[Tensor, ...]]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """∇θ of the mean over `rows` of the first of `terms`, each [b] for a slice of b rows; and all terms, whole, on the CPU."""
    gradient = tuple(torch.zeros_like(parameter) for parameter in world.parameters)
    seen = []
    for start in range(0, rows, size):
        found = terms(slice(start, min(start + size, rows)))
        parts = torch.autograd.grad(found[0].sum() / rows, world.parameters)
        gradient = tuple(total + part for total, part in zip(gradient, parts, strict=True))
        seen.append(tuple(term.detach() for term in found))
    return gradient, tuple(torch.cat(column).cpu() for column in zip(*seen, strict=True))
