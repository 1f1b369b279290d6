"""Which prompts an update takes: the list in a new order each time round, as a function of the update alone."""

from functools import lru_cache

import torch

from worker.sharpening.rng import generator


def places_of(count: int, seed: int, update: int, size: int) -> list[int]:
    """`size` places in a list of `count` prompts. Each is used once before any is used again; nothing is remembered, so
    nothing can be lost."""
    places = range(update * size, (update + 1) * size)
    return [order(count, seed, place // count)[place % count] for place in places]


@lru_cache(maxsize=2)
def order(count: int, seed: int, round_: int) -> tuple[int, ...]:
    return tuple(torch.randperm(count, generator=generator(seed, round_, 0, "order")).tolist())
