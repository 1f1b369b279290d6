"""The catalogue's large bases with their real shapes and random weights, made on the GPU in bf16: no download, seconds.

Speed and memory do not depend on what weights say. What is drawn means nothing, and no figure of quality comes from here.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

from benchmarks.bf16 import in_bf16
from benchmarks.step import shapes
from tests.worker import tiny, tiny_families
from worker.models.base import PipelineFamily, text_encoders
from worker.models.flux import Flux
from worker.models.sd import StableDiffusion
from worker.models.sd3 import StableDiffusion3
from worker.models.sdxl import StableDiffusionXL

CLIP_TOKENS = 77
RESOLUTIONS = {"sd15": 512, "sdxl": 1024, "sd35-medium": 1024, "flux-dev": 1024}
"""The catalogue's."""


def make(name: str, device: str) -> PipelineFamily:
    """As a training has it: the text encoders wait in the machine's memory, and the network recomputes where its family says so."""
    torch.manual_seed(0)
    makers: dict[str, tuple[type[Any], Callable[[str], Any]]] = {
        "sd15": (StableDiffusion, _sd15),
        "sdxl": (StableDiffusionXL, _sdxl),
        "sd35-medium": (StableDiffusion3, _sd35),
        "flux-dev": (Flux, _flux),
    }
    of_family, maker = makers[name]
    pipeline = maker(device)
    pipeline.set_progress_bar_config(disable=True)
    for encoder in text_encoders(pipeline).values():
        encoder.to("cpu")
    family: PipelineFamily = of_family(pipeline, RESOLUTIONS[name])
    assert sum(each.numel() for each in family.denoiser.parameters()) == shapes.PARAMETERS[name]
    if family.recomputes:
        family.enable_gradient_checkpointing()
    return family


def clip_reward(folder: Path) -> Path:
    """CLIP ViT-L/14 with random weights, as a reward model's folder."""
    config = CLIPConfig(
        text_config=_text(shapes.CLIP_L).to_dict(), vision_config=shapes.CLIP_VISION, projection_dim=768
    )
    torch.manual_seed(0)
    with in_bf16("cpu"):
        CLIPModel(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}).save_pretrained(folder)
    return folder


def _sd15(device: str) -> StableDiffusionPipeline:
    with in_bf16(device):
        parts = {"unet": UNet2DConditionModel(**shapes.SD15_UNET), "vae": AutoencoderKL(**shapes.VAE), **_clip_l()}
    return StableDiffusionPipeline(
        **parts, tokenizer=_tokenizer(), scheduler=_ddim(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def _sdxl(device: str) -> StableDiffusionXLPipeline:
    with in_bf16(device):
        parts = {"unet": UNet2DConditionModel(**shapes.SDXL_UNET), "vae": AutoencoderKL(**shapes.VAE), **_clip_l()}
        parts["text_encoder_2"] = CLIPTextModelWithProjection(_text(shapes.CLIP_G))
    return StableDiffusionXLPipeline(
        **parts, tokenizer=_tokenizer(), tokenizer_2=_tokenizer(), scheduler=_ddim(), add_watermarker=False
    )


def _sd35(device: str) -> StableDiffusion3Pipeline:
    with in_bf16(device):
        transformer = SD3Transformer2DModel(**shapes.SD35_TRANSFORMER)
        vae = AutoencoderKL(**shapes.VAE_16, scaling_factor=1.5305, shift_factor=0.0609)
        first = CLIPTextModelWithProjection(_text(shapes.CLIP_L))
        second = CLIPTextModelWithProjection(_text(shapes.CLIP_G))
        third = T5EncoderModel(T5Config(**shapes.T5_XXL))
    return StableDiffusion3Pipeline(
        transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=first, tokenizer=_tokenizer(), text_encoder_2=second, tokenizer_2=_tokenizer(),
        text_encoder_3=third, tokenizer_3=tiny_families.t5_tokenizer(),
    )  # fmt: skip


def _flux(device: str) -> FluxPipeline:
    with in_bf16(device):
        transformer = FluxTransformer2DModel(**shapes.FLUX_TRANSFORMER)
        vae = AutoencoderKL(**shapes.VAE_16, scaling_factor=0.3611, shift_factor=0.1159)
        parts = _clip_l()
        t5 = T5EncoderModel(T5Config(**shapes.T5_XXL))
    return FluxPipeline(
        transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        **parts, tokenizer=_tokenizer(), text_encoder_2=t5, tokenizer_2=tiny_families.t5_tokenizer(),
    )  # fmt: skip


def _clip_l() -> dict[str, nn.Module]:
    return {"text_encoder": CLIPTextModel(_text(shapes.CLIP_L))}


def _text(shape: dict[str, Any]) -> CLIPTextConfig:
    return CLIPTextConfig(**shape, bos_token_id=0, eos_token_id=1, pad_token_id=1)


def _tokenizer() -> CLIPTokenizer:
    """Of the tests, one token a letter, with CLIP's length."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = tiny.tokenizer(Path(folder))
    tokenizer.model_max_length = CLIP_TOKENS
    return tokenizer


def _ddim() -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
