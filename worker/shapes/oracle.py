"""Says exactly whether a picture shows a scene: colour segmentation, connected components, templates. No learning.

1. Background: the median of the picture's border; ink: pixels far from it in colour.
2. Things: connected components of the ink (diagonals count), specks left out.
3. A thing's colour is the median of its inner pixels, named by the nearest word of the palette.
4. A thing's shape: its soft coverage, stretched from its bounding box to a 16 x 16 grid, against each shape's template
   (intersection over union); a stretched box, a soft edge or a mixed colour makes it no thing of the vocabulary.
5. The relation compares centres, with a margin.
The thresholds let the mild artefacts of an autoencoder pass and refuse blurs and fusions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from worker.shapes.render import SIZE, coverage
from worker.shapes.scene import COLOURS, SHAPES, Scene, Thing

INK = 45.0
"""Least distance from the background of a pixel that counts as drawn, RGB units."""
SPECK = 14
"""Components of fewer pixels are artefacts, neither things nor errors."""
SMALLEST, LARGEST = 11.0, 36.0
"""Range of a thing's side, pixels."""
NEAR = 62.0
"""Largest distance of a thing's colour from its palette entry, RGB units."""
FIT = 0.72
"""Least intersection over union of a thing with its template."""
STRETCH = 1.35
"""Largest ratio of the sides of a thing's bounding box."""
SOFT = 3.0
"""Largest width of the soft edge, as half-covered pixels to a pixel of outline."""
PURE = 0.7
"""Least share of a thing's inner pixels that lie near its colour."""
GRID = 16
"""Side of the grid on which shapes are compared."""

Floats = npt.NDArray[np.float64]
_NAMES = tuple(COLOURS)
_PALETTE = np.array(list(COLOURS.values()), dtype=float)


@dataclass(frozen=True)
class Judgement:
    """What the oracle says of one picture."""

    exact: bool
    """Everything is right."""
    partial: float
    """A smooth reward, 0..1: mean of each thing's colour and shape, the relation (where one is asked) and the count."""
    colour: float
    """How near the colours are, 0..1, mean over the things asked for."""
    shape: float
    """How well the shapes fit, 0..1, mean over the things asked for."""
    relation: bool
    """The first thing stands where the prompt says; true for a single thing that is there."""
    count_right: bool
    """As many things as asked for, no more and no fewer."""


@dataclass(frozen=True)
class Found:
    """One connected component, measured. Lengths in pixels."""

    x: float
    y: float
    distances: Floats
    """To each palette colour, RGB units [8]."""
    fits: Floats
    """Intersection over union with each shape [4]."""
    sound: bool
    """Of one colour, with crisp edges, of a fair size and not stretched."""

    def colour(self, thing: Thing) -> float:
        """How near this thing's colour is, 0..1; at most 1/2 where another word is nearer."""
        wanted = _NAMES.index(thing.colour)
        near = float(np.clip(1.5 - self.distances[wanted] / (2 * NEAR), 0, 1))
        return near if self.distances.argmin() == wanted else min(near, 0.5) * 0.5

    def shape(self, thing: Thing) -> float:
        """How well this thing's shape fits, 0..1; at most 1/2 where another shape fits better."""
        wanted = SHAPES.index(thing.shape)
        fit = float(np.clip((self.fits[wanted] - 0.4) / (FIT - 0.4), 0, 1))
        return fit if self.fits.argmax() == wanted else min(fit, 1.0) * 0.5

    def shows(self, thing: Thing) -> bool:
        """Whether this is the thing."""
        colour, shape = _NAMES.index(thing.colour), SHAPES.index(thing.shape)
        named = self.distances.argmin() == colour and self.distances[colour] < NEAR
        fitted = self.fits.argmax() == shape and self.fits[shape] > FIT
        return bool(self.sound and named and fitted)


def judge(image: npt.NDArray[np.uint8] | Pillow.Image, scene: Scene) -> Judgement:
    """Compare a picture, uint8 [64, 64, 3] or PIL, with a scene. Raises ValueError for another size or type."""
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Pillow.Image) else image)
    if pixels.shape != (SIZE, SIZE, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"Expected uint8 [{SIZE}, {SIZE}, 3], got {pixels.dtype} {list(pixels.shape)}.")
    found = things_in(pixels)
    wanted = scene.things
    count = len(found) == len(wanted)
    pairs = [(a, b) for a in found for b in found if a is not b] if len(wanted) > 1 else [(a,) for a in found]
    if not pairs:
        pairs = [(*found, *(None for _ in wanted[len(found) :]))][:1]
        pairs += [tuple(reversed(pair)) for pair in pairs]
    return max((_compare(pair, scene, count) for pair in pairs), key=lambda seen: (seen.exact, seen.partial))


def _compare(pair: tuple[Found | None, ...], scene: Scene, count: bool) -> Judgement:
    """Judge one reading of the picture: which component is meant to be which thing (None: missing)."""
    both = list(zip(pair, scene.things, strict=True))
    colours = [found.colour(thing) if found else 0.0 for found, thing in both]
    shapes = [found.shape(thing) if found else 0.0 for found, thing in both]
    relation = all(pair) and (scene.relation is None or _stands(pair, scene.relation))
    parts = [*colours, *shapes, float(count), *([float(relation)] if scene.relation else [])]
    exact = count and relation and all(found is not None and found.shows(thing) for found, thing in both)
    return Judgement(
        exact=exact,
        partial=float(np.mean(parts)),
        colour=float(np.mean(colours)),
        shape=float(np.mean(shapes)),
        relation=relation,
        count_right=count,
    )


def _stands(pair: tuple[Found | None, ...], relation: str) -> bool:
    first, second = pair
    assert first is not None and second is not None
    right, down = first.x - second.x, first.y - second.y
    along = {"left of": -right, "right of": right, "above": -down, "below": down}[relation]
    across = abs(down) if relation in ("left of", "right of") else abs(right)
    return along > 8 and along > 1.5 * across


def things_in(pixels: npt.NDArray[np.uint8]) -> list[Found]:
    """Measure every component of a picture uint8 [64, 64, 3], the largest first."""
    values = pixels.astype(float)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    ground = np.median(border, axis=0)
    ink = np.square(values - ground).sum(-1) > INK**2
    labels, count = components(ink)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = [label for label in range(1, count + 1) if sizes[label] >= SPECK]
    kept.sort(key=lambda label: -sizes[label])
    return [_measure(values, ground, labels, label) for label in kept]


def _measure(values: Floats, ground: Floats, labels: npt.NDArray[np.int64], label: int) -> Found:
    mask = labels == label
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom = max(rows[0] - 2, 0), min(rows[-1] + 3, SIZE)
    left, right = max(columns[0] - 2, 0), min(columns[-1] + 3, SIZE)
    part, mask, near = values[top:bottom, left:right], mask[top:bottom, left:right], labels[top:bottom, left:right]
    padded = np.pad(mask, 1)
    inner = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    core = part[inner] if inner.sum() >= 8 else part[mask]
    colour = np.median(core, axis=0)
    toward = colour - ground
    cover = np.clip((part - ground) @ toward / max(float(toward @ toward), 1.0), 0, 1)
    cover[(near != label) & (near != 0)] = 0
    cover[cover < 0.1] = 0
    # Edges of the box to a fraction of a pixel: the outermost line counts as much as its fullest pixels cover.
    x0, x1 = _ends(cover.max(0))
    y0, y1 = _ends(cover.max(1))
    wide, high = x1 - x0, y1 - y0
    flat = _stretched(cover, (x0, y0, x1, y1))
    overlap = np.minimum(flat, _TEMPLATES).sum(-1) / np.maximum(flat, _TEMPLATES).sum(-1)
    soft = int(((cover > 0.15) & (cover < 0.85)).sum())
    outline = max(int((mask & ~inner).sum()), 1)
    pure = float((np.abs(core - colour).sum(1) < 90).mean())
    sound = (
        soft / outline < SOFT
        and pure > PURE
        and min(wide, high) > SMALLEST
        and max(wide, high) < LARGEST
        and max(wide, high) < STRETCH * min(wide, high)
    )
    return Found(
        x=left + (x0 + x1) / 2,
        y=top + (y0 + y1) / 2,
        distances=np.sqrt(np.square(_PALETTE - colour).sum(1)),
        fits=overlap.max(0),
        sound=bool(sound),
    )


def _ends(profile: Floats) -> tuple[float, float]:
    """Where a profile of coverage (0..1 a pixel) begins and ends, in pixels from its start."""
    full = np.flatnonzero(profile > 0.5)
    if len(full) == 0:
        return 0.0, float(len(profile))
    first, last = int(full[0]), int(full[-1])
    before = profile[first - 1] if first else 0.0
    after = profile[last + 1] if last + 1 < len(profile) else 0.0
    begin = first + 1 - min(1.0, profile[first]) - before
    end = last + min(1.0, profile[last]) + after
    return max(float(begin), 0.0), min(float(end), float(len(profile)))


def _stretched(cover: Floats, box: tuple[float, float, float, float]) -> Floats:
    """The part of a coverage in a box (left, top, right, bottom; pixels and fractions), on the grid, flat."""
    picture = Pillow.fromarray(cover.astype(np.float32))
    return np.asarray(picture.resize((GRID, GRID), Pillow.Resampling.BOX, box), dtype=float).ravel()


def _template(shape: str, blur: float) -> Floats:
    """A shape of middling size as it would be measured after a blur of this many pixels."""
    place = np.arange(32) + 0.5 - 16
    cover = coverage(shape, place, place[:, None], 9.5)
    if blur:
        kernel = np.exp(-0.5 * (np.arange(-4, 5) / blur) ** 2)
        for axis in (0, 1):
            cover = np.apply_along_axis(np.convolve, axis, cover, kernel / kernel.sum(), "same")
    x0, x1 = _ends(cover.max(0))
    y0, y1 = _ends(cover.max(1))
    return _stretched(cover, (x0, y0, x1, y1))


def components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], int]:
    """Label the 8-connected components of a mask by runs and union: labels (0 = none) and how many there are."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row_of, start = np.nonzero(edges == 1)
    stop = np.nonzero(edges == -1)[1]
    parent = list(range(len(start)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    runs = list(zip(row_of.tolist(), start.tolist(), stop.tolist(), strict=True))
    above: list[int] = []
    current: list[int] = []
    row = -2
    for number, (y, begin, end) in enumerate(runs):
        if y != row:
            above, current, row = (current if y == row + 1 else []), [], y
        for other in above:
            if runs[other][1] <= end and begin <= runs[other][2]:
                parent[root(other)] = root(number)
        current.append(number)
    labels = np.zeros(mask.shape, dtype=np.int64)
    names: dict[int, int] = {}
    for number, (y, begin, end) in enumerate(runs):
        labels[y, begin:end] = names.setdefault(root(number), len(names) + 1)
    return labels, len(names)


_TEMPLATES = np.stack([[_template(shape, blur) for shape in SHAPES] for blur in (0.0, 0.8, 1.2)])
"""Blur, shape, grid cells: [3, 4, 256]."""
