"""The job's own pictures, as the base model takes them: a square from the middle, brought to its side (Lanczos).

They are turned as their EXIF says; what is transparent becomes white. All are decoded once before the base is loaded, so
that a damaged one ends the job before it has cost anything; later each is decoded when its prompt's turn comes.
"""

import json
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from service.domain.errors import JobFailure
from worker.sharpening.rng import generator

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


@dataclass(frozen=True, slots=True)
class Picture:
    path: Path
    name: str
    """In the archive, for those who made it."""


class Pictures:
    """What `train` asks for a prompt's pictures at an update.

    `most`: pictures that a group can have; of a prompt with more, each update takes some, by chance keyed by (seed, update).
    """

    def __init__(self, groups: Mapping[str, Sequence[Picture]], side: int, most: int, seed: int) -> None:
        self._groups, self._side, self._most, self._seed = groups, side, most, seed

    @staticmethod
    def read(index: Path, *, side: int, most: int, seed: int) -> "Pictures":
        """From the parent's index: JSON lines of file (a path below the index), name and prompt."""
        groups = defaultdict[str, list[Picture]](list)
        for line in index.read_text(encoding="utf-8").split("\n"):
            if line:
                entry = json.loads(line)
                groups[entry["prompt"]].append(Picture(index.parent / entry["file"], entry["name"]))
        return Pictures(dict(groups), side, most, seed)

    def check(self, after_each: Callable[[], None] = lambda: None) -> None:
        """Decode each once. Raises JobFailure `image_unreadable` for the first that cannot be."""
        for group in self._groups.values():
            for picture in group:
                decoded(picture)
                after_each()

    def __call__(self, prompt: str, update: int) -> np.ndarray | None:
        """uint8 [g, side, side, 3], g at most `most`; None for a prompt without pictures."""
        group = self._groups.get(prompt)
        if group is None:
            return None
        chosen: Sequence[int] = range(len(group))
        if len(group) > self._most:
            chance = generator(self._seed, update, 0, f"pictures of {prompt}")
            chosen = torch.randperm(len(group), generator=chance)[: self._most].tolist()
        return np.stack([fitted(decoded(group[place]), self._side) for place in chosen])


def decoded(picture: Picture) -> Image.Image:
    """Upright, in RGB, on white. Raises JobFailure `image_unreadable`."""
    try:
        with Image.open(picture.path) as opened:
            if opened.mode.startswith(("I", "F")):
                raise ValueError(f"it has {opened.mode} pixels, not 8 bits a channel")
            upright = ImageOps.exif_transpose(opened)
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            layered = upright.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    except _UNREADABLE as error:
        raise JobFailure(
            f"the picture {picture.name} of images_file cannot be decoded: {error}; save it anew as an ordinary PNG, JPEG "
            "or WebP, upload the archive again, and post the job anew",
            code="image_unreadable",
        ) from error


def fitted(picture: Image.Image, side: int) -> np.ndarray:
    """The largest square in the middle, scaled to side × side. uint8 [side, side, 3]"""
    return np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS))
