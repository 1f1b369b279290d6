"""Refuses, before anything is drawn, walks that could only start in pure noise: every prompt would be a tie, or 0/0."""

import torch

from service.domain.errors import JobFailure
from service.domain.methods.common import Trained
from service.domain.methods.walks import only_in_noise
from worker.models.family import Family


def check_walks(base: Family, method: Trained) -> None:
    """Raises JobFailure `walk_in_noise`. Only a loaded base says whether its schedule begins without signal."""
    remedy = only_in_noise(method)
    if remedy is None or signal_at_first(base, method.walk_steps):  # type: ignore[attr-defined]  # it walks
        return
    raise JobFailure(
        "the walks of this job could only start in pure noise, where this base model's schedule begins and nothing is left "
        f"of the picture: {remedy}",
        code="walk_in_noise",
    )


def signal_at_first(base: Family, steps: int) -> bool:
    """Whether anything of the picture is left at the first state of a walk in so many steps."""
    one, zero = (torch.full((1, 1, 1, 1), value, device=base.device) for value in (1.0, 0.0))
    first = torch.tensor(base.sampler(steps).timesteps[:1], device=base.device)
    return base.renoise(one, zero, first).item() != 0
