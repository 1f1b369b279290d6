"""Draws pictures at fixed seeds with the project's own evaluation code and judges them: exact (the oracle) and the reward.

Runs in processes of its own, one thread each: the base's pictures are drawn while the worker trains.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

BASE = Path("examples/shapes/base")
CLIP = Path("examples/shapes/clip")


class Setting(NamedTuple):
    """Guidance and sampler steps of a drawing; guidance 1 costs one denoiser call a step, any other two."""

    guidance: float
    steps: int


GRID = (Setting(1.0, 20), Setting(1.5, 10), Setting(2.0, 10), Setting(3.0, 10), Setting(5.0, 10))
"""The published grid, NFE 20 a picture throughout. Base and sharpened each take their best of it on validation prompts."""


class Judged(NamedTuple):
    """One entry a picture, in the order asked for; `nfe` is the counted denoiser calls of one of them."""

    exact: np.ndarray
    reward: np.ndarray
    nfe: int


class Wanted(NamedTuple):
    """What to draw: with the adapter of a file, or with the base alone."""

    adapter: Path | None
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    setting: Setting


def pool(processes: int) -> ProcessPoolExecutor:
    """Fresh interpreters, one thread each."""
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_one_thread)


def _one_thread() -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    import torch

    torch.set_num_threads(1)


def judge(wanted: Wanted) -> Judged:
    """Draw and judge; runs inside a process of the pool."""
    from worker.evaluation.draw import draw
    from worker.evaluation.score import judge_scenes, rewards_of

    family, reward = _loaded(wanted.adapter)
    guidance, steps = wanted.setting
    with family.adapter_folded() if wanted.adapter else nullcontext():
        drawing = draw(family, wanted.prompts, wanted.seeds, guidance=guidance, steps=steps)
    exact = judge_scenes(drawing.pictures, wanted.prompts).exact
    return Judged(exact, rewards_of(reward, drawing.pictures, wanted.prompts), drawing.nfe)


@lru_cache(1)
def _loaded(adapter: Path | None):  # type: ignore[no-untyped-def]
    from service.domain.rewards import ClipReward
    from worker.models.load import load
    from worker.rewards.make import make

    family = load("sd", BASE, device="cpu")
    if adapter:
        family.load_adapter("sharpened", adapter.read_bytes())
        family.wear("sharpened")
    return family, make(ClipReward(type="clip", model="shapes-clip"), folder=CLIP, device=family.device)
