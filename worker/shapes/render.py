"""Draws a scene as a 64 x 64 picture with smooth edges, at a random size, place and background shade.

Edges come from signed distances (a pixel's coverage is 1/2 - distance, clipped), so a picture costs tens of
microseconds and no super-sampling. Lengths are pixels; x runs right, y runs down.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from worker.shapes.scene import COLOURS, Scene, Thing

SIZE = 64
"""Pixels on a side."""
ARM = 0.36
"""Half the width of a cross's arm, as a share of its half-extent."""
MARGIN = 3.0
"""Least distance of a thing from the picture's edge, pixels."""
GAP = 4.0
"""Least distance between two things along the axis of their relation, pixels."""
PAIR_EXTENT = (7.5, 12.0)
"""Range of a thing's half-extent (half the side of its bounding box) where there are two, pixels."""
LONE_EXTENT = (9.0, 15.0)
"""The same for a single thing, pixels."""
SHADES = (190.0, 246.0)
"""Range of the grey background, 0..255."""

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]


def coverage(shape: str, x: Floats, y: Floats, extent: float) -> Floats:
    """How much of each pixel a shape of this half-extent at the origin covers, 0..1, same shape as x and y."""
    if shape == "circle":
        distance = np.hypot(x, y) - extent
    elif shape == "square":
        distance = np.maximum(abs(x), abs(y)) - extent
    elif shape == "triangle":
        slant = (2 * abs(x) - y - extent) / np.sqrt(5.0)
        distance = np.maximum(slant, y - extent)
    elif shape == "cross":
        low, high = np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
        distance = np.maximum(high - extent, low - ARM * extent)
    else:
        raise ValueError(f'"{shape}" cannot be drawn.')
    return np.clip(0.5 - distance, 0.0, 1.0)


def render(scene: Scene, rng: np.random.Generator) -> Image:
    """Draw the scene: uint8 [64, 64, 3], all of its randomness from `rng`."""
    shade = rng.uniform(*SHADES)
    canvas = np.full((SIZE, SIZE, 3), shade) + rng.uniform(-3, 3, 3)
    for thing, place in zip(scene.things, _places(scene, rng), strict=True):
        paint(canvas, thing, place, rng)
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def paint(canvas: Floats, thing: Thing, place: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Paint one thing onto a float canvas [64, 64, 3], in place; its colour varies by +-10 a channel.

    `place` is (x, y, half-extent): centre and size, pixels.
    """
    x, y, extent = place
    column = np.arange(SIZE) + 0.5 - x
    row = (np.arange(SIZE) + 0.5 - y)[:, None]
    cover = coverage(thing.shape, column, row, extent)[..., None]
    colour = np.array(COLOURS[thing.colour]) + rng.uniform(-10, 10, 3)
    canvas += cover * (colour - canvas)


def _places(scene: Scene, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(x, y, half-extent) of each thing."""
    if scene.relation is None:
        extent = rng.uniform(*LONE_EXTENT)
        x, y = rng.uniform(MARGIN + extent, SIZE - MARGIN - extent, 2)
        return [(x, y, extent)]
    a, b = rng.uniform(*PAIR_EXTENT, 2)
    # Along the axis: the free length is shared out before, between (at least GAP) and behind the two things.
    free = SIZE - 2 * MARGIN - GAP - 2 * (a + b)
    before, between, _ = free * rng.dirichlet((1.0, 1.0, 1.0))
    near = MARGIN + before + a
    far = near + a + GAP + between + b
    # Across the axis: the two stand within a third of their distance, so that the relation is plain.
    middle = rng.uniform(MARGIN + max(a, b), SIZE - MARGIN - max(a, b))
    reach = (far - near) / 3
    low, high = max(MARGIN + b, middle - reach), min(SIZE - MARGIN - b, middle + reach)
    other = rng.uniform(low, high)
    if scene.relation in ("left of", "above"):
        first, second = (near, middle, a), (far, other, b)
    else:
        first, second = (SIZE - near, middle, a), (SIZE - far, other, b)
    if scene.relation in ("above", "below"):
        first, second = (first[1], first[0], a), (second[1], second[0], b)
    return [first, second]
