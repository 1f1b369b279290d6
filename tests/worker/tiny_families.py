"""Pipelines of every family small enough for a test: diffusers' own classes and folder format, random weights.

Each draws 64 px pictures from 8×8 latents. Prompts: CLIP reads 14 characters, T5 as many as its family gives it.
"""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.worker import tiny

LATENT_CHANNELS = 4


def make(kind: str, folder: Path, *, seed: int = 0) -> Path:
    """The folder of a family by name: sd, sd-v, sdxl, sd3, sd3-without-t5, sd3-dynamic, flux-dev, flux-schnell."""
    if kind in ("sd", "sd-v"):
        return tiny.pipeline_folder(folder, prediction_type="epsilon" if kind == "sd" else "v_prediction", seed=seed)
    torch.manual_seed(seed)
    match kind:
        case "sdxl":
            pipeline = stable_diffusion_xl(folder)
        case "sd3":
            pipeline = stable_diffusion_3(folder)
        case "sd3-without-t5":
            pipeline = stable_diffusion_3(folder, t5=False)
        case "sd3-dynamic":
            pipeline = stable_diffusion_3(folder, dynamic=True)
        case "flux-dev" | "flux-schnell":
            pipeline = flux(folder, dev=kind == "flux-dev")
    pipeline.save_pretrained(folder)
    return folder


def stable_diffusion_xl(folder: Path) -> StableDiffusionXLPipeline:
    """Two cells a level and attention in one level only, as SDXL's layout is told by such things. Scheduler: Euler."""
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=2,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, timestep_spacing="leading"
    )
    tokenizer = tiny.tokenizer(folder)
    return StableDiffusionXLPipeline(
        vae=vae(force_upcast=True),
        text_encoder=tiny.text_encoder(),
        text_encoder_2=text_encoder_with_projection("gelu"),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    )


def stable_diffusion_3(folder: Path, *, t5: bool = True, dynamic: bool = False) -> StableDiffusion3Pipeline:
    """The first of two blocks attends twice, as in SD3.5 medium."""
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    tokenizer = tiny.tokenizer(folder)
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=dynamic),
        vae=vae(scaling_factor=1.5, shift_factor=0.06),
        text_encoder=text_encoder_with_projection("quick_gelu"),
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_with_projection("gelu"),
        tokenizer_2=tokenizer,
        text_encoder_3=t5_encoder() if t5 else None,
        tokenizer_3=t5_tokenizer() if t5 else None,
    )


def flux(folder: Path, *, dev: bool) -> FluxPipeline:
    """One block of two streams and one of a single stream; dev takes guidance and shifts by the picture's size."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=dev,
        axes_dims_rope=(4, 4, 8),
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0 if dev else 1.0, use_dynamic_shifting=dev)
    return FluxPipeline(
        scheduler=scheduler,
        vae=vae(scaling_factor=0.36, shift_factor=0.11),
        text_encoder=tiny.text_encoder(),
        tokenizer=tiny.tokenizer(folder),
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer,
    )


def vae(**words: float | bool) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=LATENT_CHANNELS,
        **words,
    )


def preview_decoder(folder: Path, *, channels: int = LATENT_CHANNELS, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
    ).save_pretrained(folder)
    return folder


def text_encoder_with_projection(activation: str) -> CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        vocab_size=200,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=tiny.LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        projection_dim=8,
        hidden_act=activation,
    )
    return CLIPTextModelWithProjection(config)


def t5_encoder() -> T5EncoderModel:
    config = T5Config(
        vocab_size=100,
        d_model=32,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=4,
        is_encoder_decoder=False,
        use_cache=False,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config)


def t5_tokenizer() -> T5Tokenizer:
    """One token a letter."""
    letters = [(chr(code), -3.0) for code in range(ord("!"), ord("~") + 1)]
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5Tokenizer([*marks, *letters], extra_ids=0, model_max_length=512)
