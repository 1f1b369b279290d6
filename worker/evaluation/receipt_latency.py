"""Latency at batch 1, base and adapter in turns, so that whatever slows the machine slows both."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from service.domain.receipts import Latency
from worker.evaluation.receipt_sides import Setting, Side, Sides

PAIRS = 5
"""Beside one before them that warms up and is not counted."""
RESAMPLES = 10_000


def pair(prompt: str, seed: int, setting: Setting) -> Callable[[Sides], tuple[float, float]]:
    """A portion of work: seconds of one picture by the base, then by the adapter."""
    return lambda sides: (_seconds(sides.base, prompt, seed, setting), _seconds(sides.adapter, prompt, seed, setting))


def latency(pairs: Sequence[tuple[float, float]]) -> Latency:
    """Medians over the pairs; the interval is of the median ratio, by bootstrap over the pairs (percentiles)."""
    base, adapter = np.array(pairs).T
    ratios = adapter / base
    drawn = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
    return Latency(
        base_seconds=float(np.median(base)), adapter_seconds=float(np.median(adapter)),
        ratio=float(np.median(ratios)), ratio_ci95=(float(low), float(high)), pairs=len(pairs),
    )  # fmt: skip


def _seconds(side: Side, prompt: str, seed: int, setting: Setting) -> float:
    device = next(side.denoiser.parameters()).device
    _finished(device)
    began = time.perf_counter()
    side.draw([prompt], [seed], setting)
    _finished(device)
    return time.perf_counter() - began


def _finished(device: torch.device) -> None:
    """Wait for what the device was given: work on a GPU is queued, and a clock read too early sees none of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
