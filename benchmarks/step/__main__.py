"""Counts the work of one SFT step on the real U-Nets: `make bench-step` writes benchmarks/step/results.json.

FLOPs by torch's FlopCounterMode on the meta device: shapes without numbers, so no weights, no download and a minute on
any machine. One prompt, n = m = 3, no guidance, no checkpointing on either side; text embeddings are cached on both.
On a small U-Net with numbers the two loops give the same gradient, which is checked first.

    train = "weights": all of the U-Net on both sides, the published code's way and so the same gradient;
    train = "lora":    rank 16 on attention, feed-forward and conv on both sides, the same gradient too; without a goal:
                       nobody published that loop, and the less a backward costs, the less there is to save;
    train = "shipped": ours with that LoRA against the published code as it is.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from benchmarks.step import shapes
from benchmarks.step.loops import CANDIDATES, Bench, published, search_then_recompute
from worker.models import lora
from worker.models.ddim import Diffusion

RESULTS = Path(__file__).with_name("results.json")
GOALS = {"none": 1 / 1.5, "vae": 1 / 1.25, "taesd": 1 / 2.1}
GRADIENT_TOLERANCE = 1e-4
RANK, TARGETS = 16, ("attention", "feed-forward", "conv")
START = 10


def process() -> Diffusion:
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    return Diffusion(DDIMScheduler(**betas, clip_sample=False, steps_offset=1).config)


def trainable(unet: nn.Module, train: str) -> tuple[Tensor, ...]:
    if train == "lora":
        unet.requires_grad_(False)
        unet.add_adapter(lora.config(RANK, lora.layer_names(unet, lora.UNET_TARGETS, TARGETS)), "trained")
    else:
        unet.requires_grad_(True)
    return tuple(parameter for parameter in unet.parameters() if parameter.requires_grad)


def small_unet() -> dict[str, Any]:
    """SD1.5's layout at a size that has numbers."""
    return {
        **shapes.SD15_UNET, "block_out_channels": (32, 64), "cross_attention_dim": 32, "sample_size": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip


def gradient_difference(train: str) -> float:
    """Relative difference of the two loops' gradients on a small U-Net with numbers, in fp32."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**small_unet()).eval()
    parameters = trainable(unet, train)
    if train == "lora":
        for parameter in parameters:
            nn.init.normal_(parameter.data, std=0.1)
    text = torch.randn(1, 77, 32)
    bench = Bench(
        unet, parameters, process(), (4, 8, 8),
        inputs=lambda rows: {"encoder_hidden_states": text.expand(rows, -1, -1)},
        judge=lambda previews: previews.detach().tanh().flatten(1).mean(dim=1),
    )  # fmt: skip
    clean, noise = torch.randn(CANDIDATES, 4, 8, 8), torch.randn(CANDIDATES, 4, 8, 8)
    theirs = published(bench, clean, noise, START, detach=True)
    ours = search_then_recompute(bench, clean, noise, START)
    distance = sum((a - b).square().sum() for a, b in zip(ours, theirs, strict=True)).sqrt()
    return (distance / sum(b.square().sum() for b in theirs).sqrt()).item()


def preview_judge(preview: str) -> Callable[[Tensor], Tensor]:
    """Decode and score by CLIP ViT-L/14, for their work; the scores are a count, since nothing is known on meta."""
    if preview == "none":
        return lambda previews: torch.arange(len(previews)).float()
    decoder = AutoencoderKL(**shapes.VAE) if preview == "vae" else AutoencoderTiny(**shapes.TAESD)
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**shapes.CLIP_VISION)).eval()
    decoder.requires_grad_(False)
    clip.requires_grad_(False)

    def judge(previews: Tensor) -> Tensor:
        with torch.no_grad():
            decoder.decode(previews)
            clip(torch.zeros(len(previews), 3, 224, 224, device="meta"))
        return torch.arange(len(previews)).float()

    return judge


def bench_of(model: str, train: str, preview: str, pixels: int) -> Bench:
    config = shapes.SD15_UNET if model == "sd15" else shapes.SDXL_UNET
    side = pixels // 8
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config).eval()
        assert sum(each.numel() for each in unet.parameters()) == shapes.PARAMETERS[model]
        parameters, judge = trainable(unet, train), preview_judge(preview)

    def inputs(rows: int) -> dict[str, object]:
        text = torch.zeros(rows, 77, config["cross_attention_dim"], device="meta")
        added = {"text_embeds": torch.zeros(rows, 1280, device="meta"), "time_ids": torch.zeros(rows, 6, device="meta")}
        return {"encoder_hidden_states": text, "added_cond_kwargs": added if model == "sdxl" else None}

    return Bench(unet, parameters, process(), (4, side, side), inputs, judge)


@cache
def flops(model: str, train: str, preview: str, pixels: int, *, ours: bool) -> int:
    bench = bench_of(model, train, preview, pixels)
    clean, noise = (torch.zeros(CANDIDATES, *bench.latent_shape, device="meta") for _ in range(2))
    with FlopCounterMode(display=False) as counter:
        if ours:
            search_then_recompute(bench, clean, noise, START)
        else:
            published(bench, clean, noise, START, detach=False)
    return int(counter.get_total_flops())


def row(model: str, train: str, preview: str, their_preview: str, pixels: int) -> dict[str, Any]:
    theirs = flops(model, "lora" if train == "lora" else "weights", their_preview, pixels, ours=False)
    ours = flops(model, "weights" if train == "weights" else "lora", preview, pixels, ours=True)
    work = "unet" if preview == "none" else f"unet+{preview}+clip"
    goal = None if train == "lora" else GOALS[preview]
    return {
        "name": f"sft {work}, train {train}", "model": f"{model}-{pixels}", "ours_flops": ours, "theirs_flops": theirs,
        "ratio": ours / theirs, "goal": goal, "met": None if goal is None else ours / theirs <= goal,
    }  # fmt: skip


def gradient_row(train: str) -> dict[str, Any]:
    difference = gradient_difference(train)
    return {
        "name": f"gradient, train {train}", "model": "small U-Net", "ours_flops": None, "theirs_flops": None,
        "ratio": difference, "goal": GRADIENT_TOLERANCE, "met": difference <= GRADIENT_TOLERANCE,
    }  # fmt: skip


def rows() -> Iterator[dict[str, Any]]:
    for train in ("weights", "lora"):
        yield gradient_row(train)
    for model, pixels in (("sd15", 512), ("sdxl", 512), ("sdxl", 1024)):
        for train in ("weights", "lora", "shipped"):
            yield row(model, train, "none", "none", pixels)
    for preview in ("vae", "taesd"):
        for train in ("weights", "lora", "shipped"):
            yield row("sdxl", train, preview, "vae", 512)


def main() -> None:
    found = []
    for each in rows():
        found.append(each)
        goal = "without a goal" if each["goal"] is None else f"goal {each['goal']:.4g} met {each['met']}"
        print(f"{each['name']:34} {each['model']:12} {each['ratio']:<10.4g} {goal}", flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
