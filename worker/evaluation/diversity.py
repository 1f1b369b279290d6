"""How much the pictures of one prompt differ: what search and training can lose while their scores rise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def diversity(embeddings: np.ndarray, prompts: Sequence[str]) -> float | None:
    """Mean over prompts of the mean of 1 − cosine over all pairs of its pictures; None where no prompt has two.

    embeddings [B, D] of the pictures, of any length; prompts with one picture say nothing and are left out.
    """
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows: dict[str, list[int]] = {}
    for row, prompt in enumerate(prompts):
        rows.setdefault(prompt, []).append(row)
    distances = [_pairwise(unit[places]) for places in rows.values() if len(places) > 1]
    return float(np.mean(distances)) if distances else None


def _pairwise(unit: np.ndarray) -> float:
    """The sum over ordered pairs i ≠ j of the cosine is |Σ u|² − k."""
    count = len(unit)
    return 1 - (float(np.square(unit.sum(axis=0)).sum()) - count) / (count * (count - 1))
