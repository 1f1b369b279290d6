"""The prompts that the reward `scene` can judge, as one pattern.

The vocabulary's home is worker/shapes, which the service cannot import; a test holds the two together.
"""

import re

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "cyan", "black")
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = ("left of", "right of", "above", "below")
GRAMMAR = (
    f'"a COLOUR SHAPE" or "a COLOUR SHAPE RELATION a COLOUR SHAPE" (colours: {", ".join(COLOURS)}; '
    f"shapes: {', '.join(SHAPES)}; relations: {', '.join(RELATIONS)}; the two things differ)"
)

_THING = f"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
_SCENE = re.compile(rf"a ({_THING})(?: (?:{'|'.join(RELATIONS)}) a (?!\1$)(?:{_THING}))?")


def is_scene(prompt: str) -> bool:
    return _SCENE.fullmatch(prompt) is not None
