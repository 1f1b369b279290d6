"""The recipe's data: random scenes, their pictures, and captions that are wrong in one way."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

from worker.shapes.render import render
from worker.shapes.scene import COLOURS, INVERSE, RELATIONS, SHAPES, THINGS, Scene, Thing

T = TypeVar("T")

SINGLES = 0.2
"""Share of scenes with one thing."""


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene drawn from all combinations; one in five holds a single thing."""
    first = THINGS[rng.integers(len(THINGS))]
    if rng.random() < SINGLES:
        return Scene(first)
    return Scene(first, RELATIONS[rng.integers(4)], other_than(first, THINGS, rng))


def other_than(taken: T, choices: tuple[T, ...] | list[T], rng: np.random.Generator) -> T:
    """A random choice that differs from `taken`."""
    rest = [choice for choice in choices if choice != taken]
    return rest[rng.integers(len(rest))]


def pictures(scenes: list[Scene], rng: np.random.Generator) -> torch.Tensor:
    """Render: uint8 [n, 3, 64, 64]."""
    stack = np.stack([render(scene, rng) for scene in scenes])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 0..255 to float32 -1..1."""
    return images.float() / 127.5 - 1


def recoloured(thing: Thing, rng: np.random.Generator) -> Thing:
    """The same shape in another colour."""
    return Thing(other_than(thing.colour, list(COLOURS), rng), thing.shape)


def reshaped(thing: Thing, rng: np.random.Generator) -> Thing:
    """Another shape in the same colour."""
    return Thing(thing.colour, other_than(thing.shape, SHAPES, rng))


def mutations(scene: Scene, rng: np.random.Generator) -> dict[str, Scene]:
    """Scenes that are wrong in one way, by the kind of the error; none is true of a picture of `scene`."""
    first, relation, second = scene.first, scene.relation, scene.second
    if relation is None or second is None:
        extra = other_than(first, THINGS, rng)
        return {
            "colour": Scene(recoloured(first, rng)),
            "shape": Scene(reshaped(first, rng)),
            "count": Scene(first, RELATIONS[rng.integers(4)], extra),
        }
    across = [r for r in RELATIONS if r not in (relation, INVERSE[relation])][rng.integers(2)]
    found = {
        "relation": Scene(first, INVERSE[relation], second),
        "axis": Scene(first, across, second),
        "count": Scene(first if rng.random() < 0.5 else second),
    }
    if first.colour != second.colour and first.shape != second.shape:
        found["binding"] = Scene(Thing(second.colour, first.shape), relation, Thing(first.colour, second.shape))
    for kind, change in (("colour", recoloured), ("shape", reshaped)):
        a, b = (change(first, rng), second) if rng.random() < 0.5 else (first, change(second, rng))
        if a != b:
            found[kind] = Scene(a, relation, b)
    return found


def miscaptioned(scene: Scene, share: float, rng: np.random.Generator) -> Scene:
    """The scene with each of its attributes replaced at random with probability `share` (a web caption's errors)."""
    wrong = scene
    for _ in range(10):
        first = _misread(scene.first, share, rng)
        second = None if scene.second is None else _misread(scene.second, share, rng)
        relation = scene.relation
        if relation is not None and rng.random() < share:
            relation = other_than(relation, RELATIONS, rng)
        if first != second:
            return Scene(first, relation, second)
    return wrong


def mirrored(scene: Scene, share: float, rng: np.random.Generator) -> Scene:
    """The scene with its relation said the wrong way round with probability `share`."""
    if scene.relation is None or rng.random() >= share:
        return scene
    return Scene(scene.first, INVERSE[scene.relation], scene.second)


def _misread(thing: Thing, share: float, rng: np.random.Generator) -> Thing:
    if rng.random() < share:
        thing = recoloured(thing, rng)
    if rng.random() < share:
        thing = reshaped(thing, rng)
    return thing
