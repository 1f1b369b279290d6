"""Does a TAESD choose what the VAE would? Measured on `shapes`, for which one is distilled here.

    python -m benchmarks.step.preview [--channels 8] [--steps 1500] [--prompts 128]

The decoder is diffusers' AutoencoderTiny with few channels, trained to draw what the base's VAE draws out of the same
latents (L1 + 2 MSE): the clean latents of random scenes, as the denoiser writes them. Then the shapes CLIP ranks 8
candidates of each validation prompt, drawn by the base and decoded both ways. Its row goes into benchmarks/step/preview.json. For
SD1.5, SDXL, SD3 and FLUX, whose weights are not here, say the same with their TAESD in the catalogue.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from examples.shapes.data import pictures, random_scene
from service.domain.rewards import ClipReward
from worker.evaluation.preview import preview_agreement
from worker.models.base import PipelineFamily
from worker.models.load import load
from worker.rewards.make import make
from worker.shapes.splits import prompts

ROOT = Path(__file__).parent.parent.parent
BASE, CLIP = ROOT / "examples/shapes/base", ROOT / "examples/shapes/clip"
RESULT = Path(__file__).with_name("preview.json")
BATCH, RATE, CANDIDATES, WALK = 16, 3e-3, 8, 10


def tiny(channels: int) -> AutoencoderTiny:
    return AutoencoderTiny(
        latent_channels=8,
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(channels,) * 4,
        num_decoder_blocks=(2, 2, 1, 1),
    )


def distil(family: PipelineFamily, channels: int, steps: int, seed: int = 0) -> tuple[AutoencoderTiny, float]:
    """A decoder that draws what the family's VAE draws, and its mean error over the last tenth, of pixels in [−1, 1]."""
    torch.manual_seed(seed)
    rng, student, errors = np.random.default_rng(seed), tiny(channels), []
    optimiser = torch.optim.AdamW(student.decoder.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        scenes = pictures([random_scene(rng) for _ in range(BATCH)], rng).permute(0, 2, 3, 1)
        latents = family.latents(scenes)
        with torch.no_grad():
            drawn = family.vae.decode(latents / family.vae.config.scaling_factor).sample
        error = student.decode(latents).sample - drawn
        optimiser.zero_grad()
        (error.abs().mean() + 2 * error.square().mean()).backward()
        optimiser.step()
        schedule.step()
        errors.append(error.detach().abs().mean().item())
    return student.eval(), float(np.mean(errors[-max(1, steps // 10) :]))


def decode_flops(decoder: torch.nn.Module, latents: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder.decode(latents)
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--prompts", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    family = load("sd", BASE, device="cpu")
    began = time.monotonic()
    student, error = distil(family, arguments.channels, arguments.steps)
    seconds = time.monotonic() - began
    with tempfile.TemporaryDirectory() as folder:
        student.save_pretrained(folder)
        family.load_preview_decoder(Path(folder))
    reward = make(ClipReward(type="clip", model="shapes-clip"), folder=CLIP, device=family.device)
    found = preview_agreement(
        family, reward, prompts("validation")[: arguments.prompts], candidates=CANDIDATES, steps=WALK
    )
    one = torch.zeros(1, *family.latent_shape)
    result = {
        **asdict(found), "candidates": CANDIDATES, "chance": 1 / CANDIDATES, "channels": arguments.channels,
        "distilled_steps": arguments.steps, "pixel_error": error, "distilled_seconds": round(seconds), "vae_flops": decode_flops(family.vae, one),
        "preview_flops": decode_flops(student, one),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    known = json.loads(RESULT.read_text()) if RESULT.exists() else []
    same = ("channels", "distilled_steps")
    others = [row for row in known if any(row[name] != result[name] for name in same)]
    RESULT.write_text(json.dumps([*others, result], indent=1) + "\n")


if __name__ == "__main__":
    main()
