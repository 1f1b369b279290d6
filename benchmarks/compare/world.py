"""The small world as the comparison sees it: the base, the prompts of each split, a seed for each picture, the settings."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from worker.models.family import Family
from worker.models.load import load
from worker.shapes.splits import Split, prompts

ROOT = Path(__file__).parent.parent.parent
BASE, CLIP = ROOT / "examples/shapes/base", ROOT / "examples/shapes/clip"


class Setting(NamedTuple):
    """Guidance and sampler steps of a drawing."""

    guidance: float
    steps: int

    @property
    def nfe(self) -> int:
        """Denoiser calls of a picture: guidance doubles a step's. (Outcomes carry the counted figure.)"""
        return self.steps if self.guidance == 1 else 2 * self.steps

    def __str__(self) -> str:
        return f"{self.guidance:g}x{self.steps}"


PLAIN = Setting(1.0, 20)
GRID = (PLAIN, Setting(1.5, 10), Setting(2.0, 10), Setting(3.0, 10), Setting(5.0, 10))
"""The one grid of which every row takes its best on validation prompts: NFE 20 throughout."""


def base(device: str = "cpu") -> Family:
    """A fresh copy of the base model, without an adapter."""
    torch.set_num_threads(1)
    return load("sd", BASE, device=device, dtype="fp32")


def pictures_of(
    split: Split, count: int, prompt_count: int | None = None, *, skip: int = 0
) -> tuple[list[str], list[int]]:
    """(prompts, seeds) of `count` pictures: a split's (first) prompts in turn, seeds 0, 1, 2, …: no seed is used twice.

    `skip`: without the first so many, which something else was chosen on.
    """
    texts, places = prompts(split)[:prompt_count], range(skip, skip + count)
    return [texts[place % len(texts)] for place in places], list(places)


@cache
def base_sha256() -> str:
    """Of the base's and the CLIP's weights: outcomes of another base are not mixed with these."""
    sha256 = hashlib.sha256()
    for folder in (BASE, CLIP):
        for path in sorted(folder.rglob("*.safetensors")):
            sha256.update(path.read_bytes())
    return sha256.hexdigest()
