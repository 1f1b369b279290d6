"""Which two-thing prompts sharpening may train on, choose checkpoints on, and be tested on.

An occurrence is a (colour, shape, relation as seen from that thing). The 128 occurrences are dealt to the splits by a
fixed seed, each relation separately; a scene belongs to a split only if the occurrences of both its things do (the
second's with the inverse relation), and mixed scenes belong to none. So no test combination occurs in training, in
neither phrasing. The base model's own pre-training saw all combinations, as web-scale models have.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np

from worker.shapes.scene import INVERSE, RELATIONS, THINGS, Scene, every_scene

Split = Literal["train", "validation", "test"]
Occurrence = tuple[str, str, str]
SEED = 20250217
SHARES: dict[str, dict[Split, int]] = {
    "left of": {"train": 14, "validation": 7, "test": 11},
    "right of": {"train": 15, "validation": 6, "test": 11},
    "above": {"train": 14, "validation": 6, "test": 12},
    "below": {"train": 15, "validation": 6, "test": 11},
}
"""Of each relation's 32 occurrences, how many a split gets: 58 (45 %), 25 (20 %) and 45 (35 %) in all."""


def occurrences(scene: Scene) -> tuple[Occurrence, ...]:
    """(colour, shape, relation as seen from that thing) of both things; none for a single thing."""
    if scene.relation is None or scene.second is None:
        return ()
    first, second = scene.first, scene.second
    return (first.colour, first.shape, scene.relation), (second.colour, second.shape, INVERSE[scene.relation])


@cache
def partition() -> dict[Occurrence, Split]:
    """The split of each of the 128 occurrences."""
    rng = np.random.default_rng(SEED)
    dealt: dict[Occurrence, Split] = {}
    for relation in RELATIONS:
        order = rng.permutation(len(THINGS))
        names = [split for split, count in SHARES[relation].items() for _ in range(count)]
        for index, split in zip(order, names, strict=True):
            dealt[(THINGS[index].colour, THINGS[index].shape, relation)] = split
    return dealt


@cache
def _prompts(split: str) -> tuple[str, ...]:
    dealt = partition()
    found = [s for s in every_scene() if s.relation and all(dealt[o] == split for o in occurrences(s))]
    order = np.random.default_rng(SEED + 1).permutation(len(found))
    return tuple(found[index].prompt for index in order)


def prompts(split: Split) -> list[str]:
    """The split's two-thing prompts, shuffled once for good, so that any leading part is a fair sample.

    Raises ValueError for a name that is no split.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f'"{split}" is no split: use train, validation or test.')
    return list(_prompts(split))
