"""Stable Diffusion 3 and 3.5: flow matching with a transformer."""

from collections.abc import Mapping
from typing import Any

from diffusers import StableDiffusion3Pipeline
from torch import Tensor

from worker.models import lora
from worker.models.base import PipelineFamily, side_of
from worker.models.flow import Flow
from worker.models.text import Row, clip_reader, t5_reader

T5_TOKENS = 256


class StableDiffusion3(PipelineFamily):
    """Two CLIPs and T5, which a folder may lack (its rows are zeros then); joint attention; Euler."""

    pipeline_class = StableDiffusion3Pipeline
    part = "transformer"
    groups = lora.TRANSFORMER_TARGETS
    recomputes = True

    def __init__(self, pipeline: Any, resolution: int | None = None) -> None:
        config = pipeline.transformer.config
        side = side_of(pipeline, resolution, config.sample_size, config.patch_size)
        process = Flow(pipeline.scheduler.config, tokens=(side // config.patch_size) ** 2)
        readers = [clip_reader(pipeline.tokenizer), clip_reader(pipeline.tokenizer_2)]
        if pipeline.tokenizer_3 is not None:
            readers.append(t5_reader(pipeline.tokenizer_3, T5_TOKENS))
        super().__init__(pipeline, process, (config.in_channels, side, side), readers)

    def _encode(self, prompt: str) -> Row:
        """CLIP's rows and T5's, one after the other [1, L, D]; both CLIPs' pooled embeddings [1, D₁ + D₂]"""
        text, _, pooled, _ = self.pipeline.encode_prompt(
            prompt, None, None, self.device, do_classifier_free_guidance=False, max_sequence_length=T5_TOKENS
        )
        return {"encoder_hidden_states": text, "pooled_projections": pooled}

    def _call(self, latents: Tensor, t: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.denoiser(latents, timestep=t, **inputs, return_dict=False)[0]

    def _unscaled(self, latents: Tensor) -> Tensor:
        return super()._unscaled(latents) + self.vae.config.shift_factor

    def _scaled(self, latents: Tensor) -> Tensor:
        return super()._scaled(latents - self.vae.config.shift_factor)
