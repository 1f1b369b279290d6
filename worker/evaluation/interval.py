"""95 % intervals by bootstrap over prompts: pictures of one prompt are not independent, so prompts are what is resampled.

Percentile bootstrap (Efron 1979), 10,000 resamples from a fixed seed: the same figures give the same interval.
"""

import numpy as np

RESAMPLES = 10_000


def share(values: np.ndarray) -> tuple[float, float]:
    """Interval of the mean of values [prompts, pictures of a prompt]."""
    return _interval(np.asarray(values, dtype=float).mean(axis=1))


def paired_gain(after: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """Interval of mean(after) − mean(before), both [prompts, pictures], entry by entry the same prompt and seed."""
    if after.shape != before.shape:
        raise ValueError(f"a paired gain needs the same pictures on both sides, not {after.shape} and {before.shape}")
    return _interval((np.asarray(after, dtype=float) - np.asarray(before, dtype=float)).mean(axis=1))


def _interval(per_prompt: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = np.array([per_prompt[rng.integers(len(per_prompt), size=len(per_prompt))].mean() for _ in range(RESAMPLES)])
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
