"""The most memory in use while something is done: the device's where it tells (CUDA), else the process's (Linux)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import nn

PROCESS = Path("/proc/self")
RESET_PEAK = "5"
"""proc_pid_clear_refs(5): what is resident now is the new high-water mark."""


class Peak:
    """Bytes, once the block has ended; None where nobody tells."""

    bytes: int | None = None


def kind(denoiser: nn.Module) -> Literal["device", "process"]:
    return "device" if _device(denoiser).type == "cuda" else "process"


@contextmanager
def watched(denoiser: nn.Module) -> Iterator[Peak]:
    """Of the device that the denoiser is on. Whatever else the process does meanwhile is in it."""
    peak, device = Peak(), _device(denoiser)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device)
    else:
        can_tell = _reset()
        yield peak
        peak.bytes = _high_water() if can_tell else None


def _device(denoiser: nn.Module) -> torch.device:
    return next(denoiser.parameters()).device


def _reset() -> bool:
    try:
        (PROCESS / "clear_refs").write_text(RESET_PEAK)
    except OSError:
        return False
    return True


def _high_water() -> int | None:
    found = re.search(r"VmHWM:\s+(\d+) kB", (PROCESS / "status").read_text())
    return int(found[1]) * 1024 if found else None
