"""Shared by the training steps: a printed progress line with the time left, and learning-rate shapes."""

from __future__ import annotations

import math
import time

import torch


class Progress:
    """Prints a line every `every` steps: step, running means of the figures, seconds taken and left."""

    def __init__(self, name: str, steps: int, every: int = 100) -> None:
        self.name, self.steps, self.every = name, steps, every
        self.start = time.monotonic()
        self.sums: dict[str, float] = {}

    def tell(self, step: int, **figures: torch.Tensor | float) -> None:
        """Add the figures of one step; print when a line is due."""
        for key, value in figures.items():
            self.sums[key] = self.sums.get(key, 0.0) + (value.item() if isinstance(value, torch.Tensor) else value)
        done = step + 1
        if done % self.every == 0 or done == self.steps:
            taken = time.monotonic() - self.start
            count = done % self.every or self.every
            means = "  ".join(f"{key} {value / count:.4f}" for key, value in self.sums.items())
            left = taken / done * (self.steps - done)
            print(f"{self.name} {done}/{self.steps}  {means}  {taken:.0f} s, {left:.0f} s left", flush=True)
            self.sums = {}


def cosine(step: int, steps: int, warmup: int = 100) -> float:
    """Linear warm-up, then half a cosine down to 0, as a share of the full rate."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def stable_then_decay(step: int, steps: int, warmup: int = 200, decay: float = 0.25) -> float:
    """Linear warm-up, a plateau, then a linear fall to 0 over the last share `decay` of the steps."""
    left = (steps - step) / (decay * steps)
    return min(1.0, (step + 1) / warmup, left)
