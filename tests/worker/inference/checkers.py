"""Safety checkers that tests name in STROP_SAFETY_CHECKER."""

from collections.abc import Sequence

import numpy as np


def all_pass(pictures: np.ndarray, prompt: str) -> Sequence[str | None]:
    assert pictures.dtype == np.uint8
    assert pictures.ndim == 4
    return [None] * len(pictures)


def second_is_withheld(pictures: np.ndarray, prompt: str) -> Sequence[str | None]:
    """The second of several, and every picture alone (a preview is)."""
    return [None if place != 1 and len(pictures) > 1 else f"{prompt} is too much" for place in range(len(pictures))]


def fails(pictures: np.ndarray, prompt: str) -> Sequence[str | None]:
    raise RuntimeError("out of order")


def loses_one(pictures: np.ndarray, prompt: str) -> Sequence[str | None]:
    return [None] * (len(pictures) - 1)
