"""95 % intervals by bootstrap over prompts: pictures of one prompt are kin, so prompts are what is drawn again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval (percentiles of the resampled means)."""

    mean: float
    low: float
    high: float


def bootstrap(
    values: Sequence[float], prompts: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Of the mean of `values`, one for each picture, whose prompts are `prompts`."""
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    group = np.array([places[prompt] for prompt in prompts])
    totals = np.bincount(group, weights=np.asarray(values, dtype=float))
    counts = np.bincount(group)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=resamples)
    means = drawn @ totals / (drawn @ counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(totals.sum() / counts.sum()), float(low), float(high))


def paired_gain(before: Sequence[float], after: Sequence[float], prompts: Sequence[str], *, seed: int = 0) -> Interval:
    """Of the mean of after − before, where both were drawn with the same prompts and seeds, in the same order."""
    return bootstrap(np.subtract(after, before, dtype=float), prompts, seed=seed)
