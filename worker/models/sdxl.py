"""Stable Diffusion XL (the base model; not the refiner, which reads other time ids)."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor, nn

from worker.models import kohya, lora
from worker.models.base import PipelineFamily, side_of
from worker.models.ddim import Diffusion
from worker.models.text import Row, clip_reader


class StableDiffusionXL(PipelineFamily):
    """Two CLIPs, the second one's pooled embedding, time ids, a U-Net, DDIM.

    The time ids say what plain diffusers says by default: a picture of the size that is drawn, uncropped. Where the
    pipeline has `force_zeros_for_empty_prompt` (SDXL base has), an empty negative prompt is zeros, not the encoded "".
    """

    pipeline_class = StableDiffusionXLPipeline
    part = "unet"
    groups = lora.UNET_TARGETS
    recomputes = True  # at 512 px 2 GiB a picture in bf16 with every block kept, .1 without; at 1024 px 7 and .5

    def __init__(self, pipeline: Any, resolution: int | None = None) -> None:
        config = pipeline.unet.config
        side = side_of(pipeline, resolution, config.sample_size, 1)
        self._size = (side * pipeline.vae_scale_factor,) * 2
        process = Diffusion(pipeline.scheduler.config)
        readers = [clip_reader(each) for each in (pipeline.tokenizer, pipeline.tokenizer_2) if each is not None]
        super().__init__(pipeline, process, (config.in_channels, side, side), readers)
        if self.dtype == torch.float16 and self.vae.config.force_upcast:
            self.vae.to(torch.float32)  # it overflows in fp16: diffusers does this at each decode, and back

    @property
    def unet(self) -> nn.Module:
        return self.denoiser

    def _encode(self, prompt: str) -> Row:
        """[1, L, D₁ + D₂], pooled [1, D₂], (height, width, top, left, height, width) [1, 6]"""
        text, _, pooled, _ = self.pipeline.encode_prompt(
            prompt, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        ids = self.pipeline._get_add_time_ids(self._size, (0, 0), self._size, text.dtype, pooled.shape[-1])
        return {"encoder_hidden_states": text, "text_embeds": pooled, "time_ids": ids}

    def _encode_negative(self, prompt: str) -> Row:
        row = self._encode(prompt)
        if prompt or not self.pipeline.config.force_zeros_for_empty_prompt:
            return row
        return {name: value if name == "time_ids" else torch.zeros_like(value) for name, value in row.items()}

    def _call(self, latents: Tensor, t: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        added = {name: inputs[name] for name in ("text_embeds", "time_ids")}
        text = inputs["encoder_hidden_states"]
        return self.denoiser(latents, t, encoder_hidden_states=text, added_cond_kwargs=added, return_dict=False)[0]

    def _unscaled(self, latents: Tensor) -> Tensor:
        mean, std = self._statistics(latents)
        return super()._unscaled(latents) * std + mean

    def _scaled(self, latents: Tensor) -> Tensor:
        mean, std = self._statistics(latents)
        return super()._scaled((latents - mean) / std)

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each latent channel, where the VAE's folder gives them: [1, C, 1, 1]"""
        mean, std = (self.vae.config.get(name) for name in ("latents_mean", "latents_std"))
        mean, std = (mean, std) if mean and std else ([0.0], [1.0])
        return tuple(torch.tensor(each).view(1, -1, 1, 1).to(latents) for each in (mean, std))

    def export_kohya(self, tensors: Mapping[str, Tensor]) -> bytes:
        return kohya.export(tensors, kohya.sgm_names(self.denoiser.config))
