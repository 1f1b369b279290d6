"""A tiny base and an adapter on it, as the two sides of a receipt: two loads of one folder, so that they share nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from worker.evaluation.draw import draw
from worker.evaluation.receipt import Judge, Judges, Plan
from worker.evaluation.receipt_sides import Setting, Side, Sides
from worker.models.base import PipelineFamily
from worker.models.load import load
from worker.rewards.jpeg import JpegCompressibility

Result = TypeVar("Result")
PLAN = Plan(
    prompts=("a red dot", "blue"),
    prompts_from="training",
    seeds=(0, 1, 2, 3),
    setting=Setting(guidance=2.0, steps=2),
    scheduler="ddim",
    resolution=64,
    training_nfe=1000,
    training_fe=1600.0,
    pairs=2,
)
JUDGES = Judges(Judge(JpegCompressibility(), {"type": "jpeg-compressibility"}), None, "no other")


def worn(family: PipelineFamily) -> Side:
    """An adapter's side that is this project's own drawing code."""

    def drawn(prompts: Sequence[str], seeds: Sequence[int], setting: Setting) -> np.ndarray:
        return draw(family, prompts, seeds, guidance=setting.guidance, steps=setting.steps).pictures

    return Side(family.denoiser, drawn)


def with_adapter(family: PipelineFamily, strength: float = 0.3) -> PipelineFamily:
    """A random one, B ≠ 0 unless `strength` is: with B = 0 it draws what the base draws."""
    targets = ["attention", "feed-forward"]
    tensors = family.add_adapter(4, targets, 0)
    generator = torch.Generator().manual_seed(0)
    data = family.export(
        {name: torch.randn(each.shape, generator=generator) * strength for name, each in tensors.items()}
    )
    fresh = load("sd", Path(family.pipeline.config._name_or_path), device="cpu")
    fresh.load_adapter("x", data)
    fresh.wear("x")
    return fresh


def here(sides: Sides) -> Callable[[Callable[[Sides], Result]], Result]:
    return lambda work: work(sides)
