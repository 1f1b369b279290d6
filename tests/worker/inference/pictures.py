"""What plain diffusers draws, and adapters that change what is drawn: the independent reference of these tests."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from worker.inference.engine import Draw
from worker.models.load import load


def plain(folder: Path, draw: Draw) -> np.ndarray:
    """uint8 [H, W, 3] from StableDiffusionPipeline, with load_lora_weights for the adapter: none of our code."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    if draw.adapter:
        pipeline.load_lora_weights(safetensors.torch.load(draw.adapter.data))
    pictures = pipeline(
        draw.prompt,
        negative_prompt=draw.negative,
        num_inference_steps=draw.steps,
        guidance_scale=draw.guidance,
        generator=torch.Generator("cpu").manual_seed(draw.seed),
        output_type="np",
    ).images
    return (pictures[0] * 255).round().astype(np.uint8)


@lru_cache
def random_adapter(folder: Path, seed: int) -> bytes:
    """A file as a job makes it, with B ≠ 0: with B = 0 every test of it would pass."""
    family = load("sd", folder, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    tensors = family.add_adapter(4, ["attention", "feed-forward", "conv"], seed)
    return family.export({name: torch.randn(each.shape, generator=generator) * 0.3 for name, each in tensors.items()})
