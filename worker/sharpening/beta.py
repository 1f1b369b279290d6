"""β "auto": one number for the whole job, taken from its first updates, because the scale of errors differs by model.

It sets the scale of β·Σ w·Δ. At θ = ref every Δ is 0, so the first updates use what is known there: how far the reference's
own errors on the preferred and on the others lie apart. β is its reciprocal, the median over all states of the first updates.
Later Δ are smaller than that gap, so the median |β·Σ w·Δ| is below 1 (.14 to .8 in one run: docs/paper.md), and the
anchor weaker than a median of 1 would make it: measured to be the better of the two.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

CALIBRATION_UPDATES = 5


@dataclass(frozen=True, slots=True)
class Beta:
    """`fixed`: given by the recipe, or calibrated. `gaps`: what calibration has seen so far."""

    value: float = 1.0
    fixed: bool = False
    gaps: tuple[float, ...] = ()


def calibrated(beta: Beta, update: int, gaps: Tensor) -> Beta:
    """β after seeing, at the states of this update, the reference's Σ w·err in the loss's own unit: [Q]"""
    if beta.fixed or not len(gaps):
        return beta
    seen = (*beta.gaps, *gaps.abs().tolist())
    value = 1.0 / max(torch.tensor(seen).median().item(), 1e-12)
    if update + 1 >= CALIBRATION_UPDATES:
        return Beta(value, fixed=True)
    return replace(beta, value=value, gaps=seen)
