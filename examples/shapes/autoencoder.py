"""Step 1 of the recipe: an AutoencoderKL that folds 64 x 64 pixels into 8 x 8 latents of 8 channels.

Loss: L1 + 2 MSE + 2e-3 KL (a mean over pixels; the KL a mean over latent elements), AdamW, cosine learning rate.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL

from examples.shapes.data import pictures, random_scene, to_float
from examples.shapes.progress import Progress, cosine

STEPS, BATCH, RATE, KL = 1400, 16, 2e-3, 2e-3


def build() -> AutoencoderKL:
    """A fresh autoencoder, 0.24 M parameters."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=4,
        sample_size=64,
        force_upcast=False,
    )


def train(seed: int, steps: int = STEPS) -> AutoencoderKL:
    """Train from a seed; the result carries its latents' measured scale and shift in its config."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = build().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4, fused=True)
    progress = Progress("autoencoder", steps)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * cosine(step, steps)
        x = to_float(pictures([random_scene(rng) for _ in range(BATCH)], rng))
        posterior = model.encode(x).latent_dist
        y = model.decode(posterior.sample()).sample
        error = y - x
        l1, mse = error.abs().mean(), error.square().mean()
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        optimiser.zero_grad()
        (l1 + 2 * mse + KL * kl).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        progress.tell(step, l1=l1, mse=mse, kl=kl)
    model.to(memory_format=torch.contiguous_format).eval()
    images = pictures([random_scene(rng) for _ in range(1024)], rng)
    latents = encode(model, images)
    model.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    return model


@torch.no_grad()
def encode(model: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """Sampled latents before scaling, float32 [n, 8, 8, 8], of uint8 images [n, 3, 64, 64]."""
    return torch.cat([model.encode(to_float(part)).latent_dist.sample() for part in images.split(64)])


@torch.no_grad()
def decode(model: AutoencoderKL, latents: torch.Tensor) -> np.ndarray:
    """uint8 [n, 64, 64, 3] of unscaled latents [n, 8, 8, 8]."""
    parts = [model.decode(part).sample for part in latents.split(64)]
    pixels = (torch.cat(parts) / 2 + 0.5).clamp(0, 1) * 255
    return pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
