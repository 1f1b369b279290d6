"""The gradient of a mean over rows, a micro-batch at a time, so that only one's activations are held.

Where one term of the mean needs more rows than a micro-batch has, `chained` splits it: by the chain rule the gradient is
Σ dL/derr · ∇err, so the errors are found first, without a graph, and then each is differentiated with its weight.
"""

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
        parts = unscaled(found[0].sum() / rows, world.parameters, world.loss_scale)
        gradient = tuple(total + part for total, part in zip(gradient, parts, strict=True))
        seen.append(tuple(term.detach() for term in found))
    return gradient, tuple(torch.cat(column).cpu() for column in zip(*seen, strict=True))


def chained(
    world: World, rows: int, size: int, errors: Callable[[slice], Tensor], terms: Callable[[Tensor], tuple[Tensor, ...]]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What `accumulated` gives, for a mean whose terms are functions of the errors [rows] of many rows each.

    `errors`: [b] for a slice of b rows, at most `size`. It is called twice for each, so this costs one more forward.
    """
    found = measured(rows, size, errors).requires_grad_()
    seen = terms(found)
    (slope,) = torch.autograd.grad(seen[0].mean(), found)
    gradient, _ = accumulated(world, rows, size, lambda part: (rows * slope[part] * errors(part),))
    return gradient, tuple(term.detach().cpu() for term in seen)


@torch.no_grad()
def measured(rows: int, size: int, errors: Callable[[slice], Tensor]) -> Tensor:
    """`errors` of all rows, at most `size` a call, without a graph: [rows, …]"""
    return torch.cat([errors(slice(start, min(start + size, rows))) for start in range(0, rows, size)])


def unscaled(loss: Tensor, parameters: tuple[Tensor, ...], scale: float) -> tuple[Tensor, ...]:
    """∇θ of `loss`, whose backward runs on scale × loss: θ is fp32, but what flows through an fp16 network to it is not.

    A scale at which something overflows is made smaller, for this loss alone: nothing is remembered from one to the next.
    """
    while scale > 1:
        parts = torch.autograd.grad(loss * scale, parameters, retain_graph=True)
        if all(part.isfinite().all() for part in parts):
            return tuple(part / scale for part in parts)
        scale /= 16
    return torch.autograd.grad(loss, parameters)
