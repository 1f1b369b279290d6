"""Small statistics that several parts share; the intervals of one row are in worker/evaluation/interval.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worker.evaluation.interval import RESAMPLES, Interval


def within(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two arrays [prompts, pictures] after each prompt's mean is taken away; 0 where one is constant."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def over_seeds(values: np.ndarray, prompts: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """95 % interval of the mean of values [training seeds, pictures]: prompts are drawn again within each seed by itself.

    Three seeds are too few to say how seeds vary (a t interval would resolve nothing), so they are not drawn again: the
    interval is of these seeds' mean, and each seed is shown beside it.
    """
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    group = np.array([places[prompt] for prompt in prompts])
    counts, rng = np.bincount(group), np.random.default_rng(seed)
    means = np.zeros(resamples)
    for row in np.asarray(values, dtype=float):
        drawn = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=resamples)
        means += drawn @ np.bincount(group, weights=row) / (drawn @ counts) / len(values)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(np.mean(values)), float(low), float(high))
