"""From a folder to a family: the one place that dispatches on the catalogue's word."""

from pathlib import Path
from typing import assert_never

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from service.domain.catalogue import Family as FamilyName
from worker.models.family import Family

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load(
    family: FamilyName, folder: Path, *, device: str = "auto", dtype: str = "auto", resolution: int | None = None
) -> Family:
    """Load a base model. `resolution` is the side of a picture in pixels; by default the one that it was trained at.

    Raises JobFailure `base_unloadable` with the reason.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    where = pick_device(device)
    match family:
        case "sd":
            from worker.models.sd import StableDiffusion

            return StableDiffusion.load(folder, device=where, dtype=pick_dtype(dtype, where), resolution=resolution)
        case _:
            assert_never(family)


def pick_device(device: str = "auto") -> torch.device:
    """auto: cuda, else mps, else cpu."""
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """auto: bf16 on a GPU that has it, else fp32."""
    if dtype != "auto":
        return DTYPES[dtype]
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
