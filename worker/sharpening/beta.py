"""β "auto": one number for the whole job, taken from its first updates, because the scale of errors differs by model.

Wanted is a median |β·(Δ_best − Δ_worst)| of about 1: the loss then neither ignores the reference nor clings to it. At
θ = ref every Δ is 0, so the first updates use what is known there: how far the reference's own errors on best and worst
lie apart. β is its reciprocal, the median over all states of the first updates.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.sharpening.objective import relative

CALIBRATION_UPDATES = 5


@dataclass(frozen=True, slots=True)
class Beta:
    """`fixed`: given by the recipe, or calibrated. `gaps`: what calibration has seen so far."""

    value: float = 1.0
    fixed: bool = False
    gaps: tuple[float, ...] = ()


def calibrated(beta: Beta, update: int, reference: Tensor) -> Beta:
    """β after seeing the reference's errors [Q, 2] of this update."""
    if beta.fixed or not len(reference):
        return beta
    best, worst = relative(reference, reference).unbind(dim=1)
    gaps = (*beta.gaps, *(best - worst).abs().tolist())
    value = 1.0 / max(torch.tensor(gaps).median().item(), 1e-12)
    if update + 1 >= CALIBRATION_UPDATES:
        return Beta(value, fixed=True)
    return replace(beta, value=value, gaps=gaps)
