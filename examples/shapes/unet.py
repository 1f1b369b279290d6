"""Step 3 of the recipe: the denoiser, a UNet2DConditionModel on 8 x 8 latents, and the pipeline's folder around it.

Latents are encoded once and text embeddings looked up in a table. Loss: squared error of the predicted noise; three
quarters of the timesteps lie above 500, where text decides. AdamW, rate: warm-up, plateau, linear decay; an exponential
mean of the weights is kept and saved.

Two stages, one stored caption a picture in each. CLEAN: every attribute is misread with probability .02. WEB goes on from
the saved weights with captions like the web's, which name things well and places badly: besides, the relation is said
the wrong way round in 45 % of them. So the base stays imperfect however long it trains, and guidance does not cure it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from examples.shapes import autoencoder, tokens
from examples.shapes.data import mirrored, miscaptioned, pictures, random_scene
from examples.shapes.progress import Progress, stable_then_decay
from worker.shapes.scene import every_scene

SAMPLES, BATCH, EMA = 24_576, 32, 0.999
DROPPED, MISREAD = 0.1, 0.02


@dataclass(frozen=True)
class Stage:
    """One run over the data: optimiser steps (the last quarter with a falling rate), rate, share of turned relations."""

    steps: int
    rate: float
    mirrored: float


CLEAN, WEB = Stage(7_000, 1e-3, 0.0), Stage(3_000, 5e-4, 0.45)
SNAPSHOT = 500
"""Steps between snapshots of the averaged weights."""


def build(width: int) -> UNet2DConditionModel:
    """A fresh denoiser for text embeddings of this width, 5.8 M parameters."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        block_out_channels=(64, 160),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion, sampled by DDIM with trailing spacing."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        timestep_spacing="trailing",
    )


@torch.no_grad()
def text_table(base: Path) -> tuple[dict[str, int], torch.Tensor]:
    """Row of each prompt and the rows, float32 [4001, 24, width]; the empty prompt is row 0."""
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(base / "text_encoder").float().eval()
    prompts = ["", *(scene.prompt for scene in every_scene())]
    ids = tokenizer(prompts, padding="max_length", max_length=tokens.LENGTH, truncation=True, return_tensors="pt")
    rows = torch.cat([encoder(part)[0] for part in ids.input_ids.split(256)])
    return {prompt: row for row, prompt in enumerate(prompts)}, rows


def dataset(seed: int, base: Path, turned: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scaled latents [n, 8, 8, 8], the row of each (sometimes misread) caption [n], the table of text embeddings."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 2)
    rows, table = text_table(base)
    vae = AutoencoderKL.from_pretrained(base / "vae").float().eval()
    scenes = [random_scene(rng) for _ in range(SAMPLES)]
    progress = Progress("latents", SAMPLES // 512, every=12)
    latents = []
    for start in range(0, SAMPLES, 512):
        latents.append(autoencoder.encode(vae, pictures(scenes[start : start + 512], rng)))
        progress.tell(start // 512)
    said = [miscaptioned(scene, MISREAD, rng) for scene in scenes]
    captions = torch.tensor([rows[mirrored(scene, turned, rng).prompt] for scene in said])
    return torch.cat(latents) * vae.config.scaling_factor, captions, table


def train(seed: int, base: Path, stage: Stage, start: UNet2DConditionModel | None = None) -> UNet2DConditionModel:
    """Train with the encoders in `base`, where snapshots go too, from a seed or a start; returns the averaged weights."""
    latents, captions, table = dataset(seed, base, stage.mirrored)
    torch.manual_seed(seed)
    model = build(table.shape[-1]).train()
    if start is not None:
        model.load_state_dict(start.state_dict())
    mean = build(table.shape[-1]).requires_grad_(False).eval()
    mean.load_state_dict(model.state_dict())
    weights, means = list(model.parameters()), list(mean.parameters())
    optimiser = torch.optim.AdamW(weights, lr=stage.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    signal = scheduler().alphas_cumprod
    steps = stage.steps
    progress = Progress("unet", steps, every=250)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = stage.rate * stable_then_decay(step, steps)
        picked = torch.randint(len(latents), (BATCH,))
        rows = captions[picked].masked_fill(torch.rand(BATCH) < DROPPED, 0)
        low = torch.where(torch.rand(BATCH) < 0.5, 0, 500)
        t = low + ((1000 - low) * torch.rand(BATCH)).long()
        x, noise = latents[picked], torch.randn(BATCH, 8, 8, 8)
        kept = signal[t].view(-1, 1, 1, 1)
        guess = model(kept.sqrt() * x + (1 - kept).sqrt() * noise, t, table[rows]).sample
        loss = F.mse_loss(guess, noise)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        torch._foreach_lerp_(means, weights, 1 - min(EMA, (step + 1) / (step + 10)))
        progress.tell(step, loss=loss, norm=norm)
        if (step + 1) % SNAPSHOT == 0 and step + 1 < steps:
            save(mean, base)
    return mean


def save(unet: UNet2DConditionModel, base: Path) -> None:
    """Write the U-Net in fp16 and the rest of the pipeline's folder (the other weights are there already)."""
    copy = UNet2DConditionModel.from_config(unet.config)
    copy.load_state_dict(unet.state_dict())
    copy.half().save_pretrained(base / "unet")
    scheduler().save_pretrained(base / "scheduler")
    library, text = ["diffusers", ""], "transformers"
    index = {
        "_class_name": StableDiffusionPipeline.__name__,
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": [library[0], "DDIMScheduler"],
        "text_encoder": [text, "CLIPTextModel"],
        "tokenizer": [text, "CLIPTokenizer"],
        "unet": [library[0], "UNet2DConditionModel"],
        "vae": [library[0], "AutoencoderKL"],
    }
    (base / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
