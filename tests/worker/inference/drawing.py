"""Pictures by a served base's own steps, without an engine around it."""

from collections.abc import Sequence

import numpy as np

from worker.evaluation.draw import Drawing
from worker.inference.engine.requests import SIZES, SchedulerName
from worker.inference.engine.served import Served
from worker.inference.engine.slots import Wearing


def drawn(
    served: Served,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    guidance: float,
    steps: int,
    scheduler: SchedulerName,
    wearings: Sequence[Wearing] | None = None,
    batch_size: int = SIZES[-1],
) -> Drawing:
    """One picture for each (prompt, seed, wearing), in calls padded to `batch_size`."""
    samples = [
        served.begin(prompt, seed, guidance=guidance, steps=steps, wearing=wearing, scheduler=scheduler)
        for prompt, seed, wearing in zip(prompts, seeds, wearings or [()] * len(prompts), strict=True)
    ]
    for start in range(0, len(samples), batch_size):
        for _ in range(steps):
            served.step(samples[start : start + batch_size], batch_size)
    pictures = np.stack([served.picture(each) for each in samples])
    return Drawing(pictures, sum(each.nfe for each in samples) // len(samples))
