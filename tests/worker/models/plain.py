"""Plain diffusers pipelines, which are the reference for every number of a family."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    FluxPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor

PROMPTS = ["a red dot", "blue", "no"]
SEEDS = [3, 5, 2**40]
SIDE = 64


def load(kind: str, folder: Path, dtype: torch.dtype = torch.float32) -> DiffusionPipeline:
    match kind:
        case "sd" | "sd-v":
            pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=dtype)
        case "sdxl":
            pipeline = StableDiffusionXLPipeline.from_pretrained(folder, dtype=dtype)
        case "sd3-without-t5":
            pipeline = StableDiffusion3Pipeline.from_pretrained(
                folder, text_encoder_3=None, tokenizer_3=None, dtype=dtype
            )
        case "sd3" | "sd3-dynamic":
            pipeline = StableDiffusion3Pipeline.from_pretrained(folder, dtype=dtype)
        case _:
            pipeline = FluxPipeline.from_pretrained(folder, dtype=dtype)
    if kind in ("sd", "sd-v", "sdxl"):
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(
    pipeline: DiffusionPipeline, *, guidance: float, steps: int, kind: str = "latent",
    prompts: Sequence[str] = PROMPTS, seeds: Sequence[int] = SEEDS, **words: Any,
) -> Any:  # fmt: skip
    """Latents [B, C, H, W], or pictures [B, H, W, 3] in [0, 1] with kind="np"."""
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    if isinstance(pipeline, FluxPipeline):
        words = {"max_sequence_length": 512 if pipeline.transformer.config.guidance_embeds else 256, **words}
    drawn = pipeline(
        list(prompts), guidance_scale=guidance, num_inference_steps=steps, generator=generators, height=SIDE, width=SIDE,
        output_type=kind, **words,
    ).images  # fmt: skip
    return unpacked(drawn) if isinstance(pipeline, FluxPipeline) and kind == "latent" else drawn


def unpacked(latents: Tensor) -> Tensor:
    """FLUX's [B, H/2 · W/2, 4 C] as [B, C, H, W]."""
    side = round(latents.shape[1] ** 0.5)
    grid = latents.unflatten(1, (side, side)).unflatten(3, (-1, 2, 2))
    return grid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
