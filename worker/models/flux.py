"""FLUX.1: flow matching with a transformer over packed latents; dev takes guidance as an input, schnell knows none."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline
from torch import Tensor

from worker.models import lora
from worker.models.base import PipelineFamily, side_of
from worker.models.family import Conditions
from worker.models.flow import Flow
from worker.models.text import Row, clip_reader, t5_reader

DEV_GUIDANCE = 3.5
"""What FluxPipeline feeds by default, and what its model card recommends."""
DEV_TOKENS, SCHNELL_TOKENS = 512, 256
"""T5 tokens that each was trained with."""
PATCH = 2


class Flux(PipelineFamily):
    """CLIP's pooled embedding and T5's rows; latents outside the transformer stay [B, C, H, W].

    Classifier-free guidance ("true CFG") is not offered: both models were distilled to do without, in one forward.
    """

    pipeline_class = FluxPipeline
    part = "transformer"
    groups = lora.FLUX_TARGETS
    recomputes = True  # at 1024 px 47 GiB a picture in bf16 with every block kept, 1.5 without
    free_guidance = False

    def __init__(self, pipeline: Any, resolution: int | None = None) -> None:
        config = pipeline.transformer.config
        side = side_of(pipeline, resolution, pipeline.default_sample_size, PATCH)
        process = Flow(pipeline.scheduler.config, tokens=(side // PATCH) ** 2, own_sigmas=_sigmas)
        self.embedded_guidance = DEV_GUIDANCE if config.guidance_embeds else None
        self.text_length = DEV_TOKENS if config.guidance_embeds else SCHNELL_TOKENS
        readers = [clip_reader(pipeline.tokenizer), t5_reader(pipeline.tokenizer_2, self.text_length)]
        super().__init__(pipeline, process, (config.in_channels // PATCH**2, side, side), readers)
        self._places = pipeline._prepare_latent_image_ids(1, side // PATCH, side // PATCH, self.device, self.dtype)

    def _encode(self, prompt: str) -> Row:
        """T5's rows [1, L, D], CLIP's pooled embedding [1, D]"""
        text, pooled, _ = self.pipeline.encode_prompt(prompt, None, self.device, max_sequence_length=self.text_length)
        return {"encoder_hidden_states": text, "pooled_projections": pooled}

    def encode(self, prompts: Sequence[str], negatives: Sequence[str] | None = None) -> Conditions:
        """Negatives have no meaning here."""
        return Conditions(self._texts.rows(prompts, self._encode, self.device, self._reading), {})

    def predict(
        self, latents: Tensor, t: float | Tensor, conditions: Conditions, guidance: float | Sequence[float] = 1.0
    ) -> Tensor:
        count, text = len(latents), conditions.positive["encoder_hidden_states"]
        scales = [guidance] * count if isinstance(guidance, int | float) else list(guidance)
        packed = self.pipeline._pack_latents(latents.to(self.dtype), count, *self.latent_shape)
        prediction = self.denoiser(
            packed,
            timestep=self._times(t, count).to(self.dtype) / 1000,
            guidance=self._guidance(scales),
            txt_ids=torch.zeros(text.shape[1], 3, device=self.device, dtype=self.dtype),
            img_ids=self._places,
            **conditions.positive,
            return_dict=False,
        )[0]
        scale = self.pipeline.vae_scale_factor
        return self.pipeline._unpack_latents(prediction, *(side * scale for side in self.latent_shape[1:]), scale)

    def _guidance(self, scales: Sequence[float]) -> Tensor | None:
        """1 stands for the model's habit: rollouts and losses that ask for none feed the same embedding."""
        if self.embedded_guidance is None:
            return None
        fed = [float(scale) if scale > 1 else self.embedded_guidance for scale in scales]
        return torch.tensor(fed, device=self.device, dtype=torch.float32)

    def _unscaled(self, latents: Tensor) -> Tensor:
        return super()._unscaled(latents) + self.vae.config.shift_factor

    def _scaled(self, latents: Tensor) -> Tensor:
        return super()._scaled(latents - self.vae.config.shift_factor)


def _sigmas(steps: int) -> Sequence[float]:
    """Even from 1 to 1/steps before the shift, as FluxPipeline has them."""
    return np.linspace(1.0, 1 / steps, steps).tolist()
