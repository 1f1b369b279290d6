"""What plain diffusers draws, and adapters that change what is drawn: the independent reference of these tests."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from tests.worker.inference.random_adapters import ALL, random_file
from worker.models.load import load


def plain(
    folder: Path,
    data: bytes | None = None,
    *,
    prompt: str = "a red circle",
    negative: str = "",
    seed: int = 7,
    steps: int = 3,
    guidance: float = 2.0,
) -> np.ndarray:
    """uint8 [H, W, 3] from StableDiffusionPipeline, with load_lora_weights for the adapter: none of our code."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    if data:
        pipeline.load_lora_weights(safetensors.torch.load(data))
    pictures = pipeline(
        prompt,
        negative_prompt=negative,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="np",
    ).images
    return (pictures[0] * 255).round().astype(np.uint8)


@lru_cache
def random_adapter(folder: Path, seed: int, targets: Sequence[str] = ALL) -> bytes:
    """A file as a job makes it, with B ≠ 0."""
    return random_file(load("sd", folder, device="cpu"), seed, targets=targets)
