"""Stable Diffusion 1.x and 2.x (ε- and v-prediction) in diffusers' folder format, and `shapes`, which is one of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from worker.models import kohya, lora
from worker.models.base import PipelineFamily, side_of
from worker.models.ddim import Diffusion
from worker.models.text import Row, clip_reader


class StableDiffusion(PipelineFamily):
    """One CLIP, a U-Net, DDIM."""

    pipeline_class = StableDiffusionPipeline
    part = "unet"
    groups = lora.UNET_TARGETS

    def __init__(self, pipeline: Any, resolution: int | None = None) -> None:
        config = pipeline.unet.config
        side = side_of(pipeline, resolution, config.sample_size, 1)
        process = Diffusion(pipeline.scheduler.config)
        super().__init__(pipeline, process, (config.in_channels, side, side), [clip_reader(pipeline.tokenizer)])

    @classmethod
    def load(cls, folder: Path, *, device: torch.device, dtype: torch.dtype, **words: Any) -> Self:
        words = {"safety_checker": None, "requires_safety_checker": False, **words}
        return super().load(folder, device=device, dtype=dtype, **words)

    @property
    def unet(self) -> nn.Module:
        return self.denoiser

    def _encode(self, prompt: str) -> Row:
        """[1, L, D]"""
        text = self.pipeline.encode_prompt(prompt, self.device, 1, do_classifier_free_guidance=False)[0]
        return {"encoder_hidden_states": text}

    def _call(self, latents: Tensor, t: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.denoiser(latents, t, **inputs, return_dict=False)[0]

    def export_kohya(self, tensors: Mapping[str, Tensor]) -> bytes:
        return kohya.export(tensors)
