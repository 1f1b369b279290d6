"""From a folder to a family: the one place that dispatches on the catalogue's word."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from service.domain.catalogue import Family as FamilyName
from service.domain.errors import JobFailure
from worker.models.family import Family

if TYPE_CHECKING:
    from worker.models.base import PipelineFamily

PIPELINES: dict[FamilyName, str] = {
    "sd": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
}
"""The class that a family's folder names in its model_index.json."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load(
    family: FamilyName,
    folder: Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    resolution: int | None = None,
    preview_decoder: Path | None = None,
    guidance: float | None = None,
    parks_text: bool = False,
) -> Family:
    """Load a base model, with a small decoder for previews beside it where one is named.

    `resolution` is the side of a picture in pixels; by default the one that it was trained at. `guidance`: the catalogue's,
    for a network that reads it (FLUX.1-dev): what it is fed where none is asked for; by default its family's habit.
    `parks_text`: the text encoders stay in the machine's memory and are on the device only while they encode. Training on a
    GPU wants that, which asks for a prompt once; serving does not, where new prompts would wait for gigabytes.
    Raises JobFailure `family_mismatch` where the folder holds another family, `base_unloadable` with the reason.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    check_family(family, folder)
    where = pick_device(device)
    loaded = _class(family).load(
        folder, device=where, dtype=pick_dtype(dtype, where), resolution=resolution, parks_text=parks_text
    )
    if preview_decoder is not None:
        loaded.load_preview_decoder(preview_decoder)
    if guidance is not None and loaded.embedded_guidance is not None:
        loaded.embedded_guidance = guidance
    return loaded


def _class(family: FamilyName) -> "type[PipelineFamily]":
    match family:
        case "sd":
            from worker.models.sd import StableDiffusion

            return StableDiffusion
        case "sdxl":
            from worker.models.sdxl import StableDiffusionXL

            return StableDiffusionXL
        case "sd3":
            from worker.models.sd3 import StableDiffusion3

            return StableDiffusion3
        case "flux":
            from worker.models.flux import Flux

            return Flux
        case _:
            assert_never(family)


def check_family(family: FamilyName, folder: Path) -> None:
    """By the class that the folder's model_index.json names, before anything is loaded."""
    try:
        found = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError) as error:
        raise JobFailure(
            f"the base model in {folder.name} cannot be loaded: it has no model_index.json of a diffusers pipeline "
            f"({error}); give the folder that DiffusionPipeline.save_pretrained wrote",
            code="base_unloadable",
        ) from error
    holds = {pipeline: name for name, pipeline in PIPELINES.items()}.get(found)
    if holds == family:
        return
    remedy = (
        f'write family = "{holds}" in the catalogue'
        if holds
        else f"known are {', '.join(PIPELINES.values())}: convert it, or choose another base model"
    )
    raise JobFailure(
        f'the catalogue says family "{family}" ({PIPELINES[family]}), but the folder {folder.name} holds a {found}: {remedy}',
        code="family_mismatch",
    )


def pick_device(device: str = "auto") -> torch.device:
    """auto: cuda, else mps, else cpu. Raises JobFailure `device_unavailable` where a GPU is named that is not there: on the CPU
    its job would take for ever, and nobody would be told."""
    if device != "auto":
        named = torch.device(device)
        if named.type == "cuda" and (named.index or 0) >= torch.cuda.device_count():
            raise JobFailure(
                f"STROP_DEVICE is {device}, and torch finds {torch.cuda.device_count()} such devices here: see to the driver and "
                "to what the container is given, or set STROP_DEVICE=cpu",
                code="device_unavailable",
            )
        return named
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """auto: bf16 on a GPU that has it, else fp32."""
    if dtype != "auto":
        return DTYPES[dtype]
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32
