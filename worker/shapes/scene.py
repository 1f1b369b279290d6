"""What can be said in the small world: a thing, or two things and where the first stands, seen from the second.

A scene is a value: `Scene.prompt` writes it as English and `parse` reads exactly that English back. Nothing here draws.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 35, 40),
    "green": (40, 150, 60),
    "blue": (40, 70, 220),
    "yellow": (245, 215, 30),
    "orange": (245, 130, 20),
    "purple": (140, 50, 170),
    "cyan": (40, 200, 225),
    "black": (25, 25, 30),
}
"""Colour name to its sRGB value, 0..255."""

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "cross")
"""Shape names; triangles stand on their base, crosses are upright."""

INVERSE: dict[str, str] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
"""Each relation as seen from the other thing."""

RELATIONS: tuple[str, ...] = tuple(INVERSE)
"""Relation names: where the first thing stands, seen from the second."""


def _known(kind: str, word: str, vocabulary: dict[str, tuple[int, int, int]] | tuple[str, ...]) -> None:
    if word not in vocabulary:
        raise ValueError(f'"{word}" is not a known {kind}: use one of {", ".join(vocabulary)}.')


@dataclass(frozen=True, order=True)
class Thing:
    """One coloured shape. Raises ValueError for a word outside the vocabulary."""

    colour: str
    shape: str

    def __post_init__(self) -> None:
        _known("colour", self.colour, COLOURS)
        _known("shape", self.shape, SHAPES)

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """One thing, or two different things with a relation. Raises ValueError for anything else."""

    first: Thing
    relation: str | None = None
    second: Thing | None = None

    def __post_init__(self) -> None:
        if (self.relation is None) != (self.second is None):
            raise ValueError("A scene has either both a relation and a second thing, or neither.")
        if self.relation is not None:
            _known("relation", self.relation, RELATIONS)
        if self.first == self.second:
            raise ValueError(f"The two things of a scene must differ in colour or shape; both are a {self.first}.")

    @property
    def things(self) -> tuple[Thing, ...]:
        """The one or two things, in the order of the prompt."""
        return (self.first,) if self.second is None else (self.first, self.second)

    @property
    def prompt(self) -> str:
        """The scene in English: "a red circle" or "a red circle left of a blue square"."""
        return f"a {self.first}" if self.second is None else f"a {self.first} {self.relation} a {self.second}"

    @property
    def inverse(self) -> Scene:
        """The same picture said from the other side ("a blue square right of a red circle"); a lone thing is itself."""
        if self.relation is None or self.second is None:
            return self
        return Scene(self.second, INVERSE[self.relation], self.first)


THINGS: tuple[Thing, ...] = tuple(Thing(colour, shape) for colour in COLOURS for shape in SHAPES)
"""All 32 things, in a fixed order."""


def parse(prompt: str) -> Scene:
    """Read a prompt that `Scene.prompt` wrote. Raises ValueError, with the vocabulary, for any other text."""
    words = prompt.split(" ")
    for relation in RELATIONS:
        marks = relation.split(" ")
        if words[3 : 3 + len(marks)] == marks:
            return Scene(_thing(words[:3], prompt), relation, _thing(words[3 + len(marks) :], prompt))
    if len(words) > 3:
        raise ValueError(
            f'No relation found after "{" ".join(words[:3])}" in "{prompt}": use one of {", ".join(RELATIONS)}.'
        )
    return Scene(_thing(words, prompt))


def every_scene() -> list[Scene]:
    """All 32 single things, then all 4 x 32 x 31 pairs, in a fixed order."""
    pairs = itertools.product(THINGS, RELATIONS, THINGS)
    return [Scene(thing) for thing in THINGS] + [Scene(a, relation, b) for a, relation, b in pairs if a != b]


def _thing(words: list[str], prompt: str) -> Thing:
    if len(words) != 3 or words[0] != "a":
        raise ValueError(f'Expected "a COLOUR SHAPE" but read "{" ".join(words)}" in "{prompt}".')
    return Thing(words[1], words[2])
