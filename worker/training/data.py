"""Which prompts an update takes: the list in a new order each time round, as a function of the update alone."""

from collections.abc import Sequence
from functools import lru_cache

import torch

from worker.sharpening.rng import generator


def prompts_of(prompts: Sequence[str], seed: int, update: int, size: int) -> list[str]:
    """`size` prompts. Each is used once before any is used again; nothing is remembered, so nothing can be lost."""
    places = range(update * size, (update + 1) * size)
    return [prompts[order(len(prompts), seed, place // len(prompts))[place % len(prompts)]] for place in places]


@lru_cache(maxsize=2)
def order(count: int, seed: int, round_: int) -> tuple[int, ...]:
    return tuple(torch.randperm(count, generator=generator(seed, round_, 0, "order")).tolist())
