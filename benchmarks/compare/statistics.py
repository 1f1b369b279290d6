"""Small statistics that several parts share; the intervals of one row are in worker/evaluation/interval.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from worker.evaluation.interval import RESAMPLES, Interval, bootstrap

CLOSE = 1e-9


def at_least(one: float, other: float) -> bool:
    """one ≥ other for shares of pictures: sums in another order differ in their last digits."""
    return bool(one >= other - CLOSE)


def within(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two arrays [prompts, pictures] after each prompt's mean is taken away; 0 where one is constant."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def over_seeds(values: np.ndarray, prompts: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """95 % interval of the mean of values [training seeds, pictures]: prompts are drawn again, the same for all seeds.

    All seeds are judged on the same pictures, and paired with the same pictures of the base: drawn apart, that one base would
    count as if each seed had a base of its own. Seeds are not drawn again: three are too few to say how seeds vary (a t
    interval would resolve nothing), so the interval is of these seeds' mean, and each seed is shown beside it.
    """
    return bootstrap(np.asarray(values, dtype=float).mean(axis=0).tolist(), prompts, resamples=resamples, seed=seed)


def resampled(
    statistic: Callable[[np.ndarray], float], prompts: Sequence[str], *, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of a statistic over prompts that are drawn again: one that is no mean.

    It is handed a weight for each picture, [pictures], sum 1. It may answer inf: percentiles are values, not between two.
    """
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    group = np.array([places[prompt] for prompt in prompts])
    drawn = np.random.default_rng(seed).multinomial(len(places), np.full(len(places), 1 / len(places)), size=resamples)
    found = [statistic(times[group] / times[group].sum()) for times in drawn]
    low, high = np.percentile(found, [2.5, 97.5], method="inverted_cdf")
    return float(low), float(high)
