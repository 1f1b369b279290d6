"""Quantiles of waiting times, and bootstrap intervals of their ratios."""

from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 4000


def ratio(ours: Sequence[float], theirs: Sequence[float], quantile: float, seed: int = 0) -> tuple[float, float, float]:
    """(ours / theirs at that quantile, and its 95 % interval): both series are drawn again, each by itself."""
    chance = np.random.default_rng(seed)
    drawn = [
        np.quantile(chance.choice(np.asarray(series), (RESAMPLES, len(series))), quantile, axis=1)
        for series in (ours, theirs)
    ]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return float(np.quantile(ours, quantile) / np.quantile(theirs, quantile)), float(low), float(high)


def row(name: str, ours: Sequence[float], theirs: Sequence[float], quantile: float, goal: float) -> dict[str, Any]:
    """One line of the results; seconds in, milliseconds out."""
    found, low, high = ratio(ours, theirs, quantile)
    return {
        "name": f"{name}, p{quantile * 100:.0f}",
        "rounds": [len(ours), len(theirs)],
        "ours_ms": round(float(np.quantile(ours, quantile)) * 1000, 3),
        "bare_ms": round(float(np.quantile(theirs, quantile)) * 1000, 3),
        "ratio": round(found, 3),
        "interval": [round(low, 3), round(high, 3)],
        "goal": goal,
        "met": found <= goal,
    }
