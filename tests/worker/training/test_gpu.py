"""One job of Stable Diffusion 1.5's real shapes in bf16 on CUDA, with random weights."""

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from tests.worker import tiny
from tests.worker.training.conftest import PROMPTS, jpeg, recipe
from worker.models.sd import StableDiffusion
from worker.training.events import Finished, Stepped
from worker.training.loop import train


def sd15(folder) -> StableDiffusionPipeline:
    text = CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tiny.tokenizer(folder),
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return pipeline.to("cuda", torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
class TestStableDiffusion15:
    def test_trains_a_few_steps(self, tmp_path) -> None:
        family = StableDiffusion(sd15(tmp_path))
        events = list(train(family, jpeg(), recipe(steps=3, rollout_steps=4), PROMPTS))
        losses = [event.loss for event in events if isinstance(event, Stepped)]
        assert losses[0] == pytest.approx(0.6931, abs=1e-3)
        assert isinstance(events[-1], Finished)
