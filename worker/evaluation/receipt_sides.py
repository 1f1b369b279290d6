"""The two sides of a receipt: who draws, counted at the denoiser itself. The base is plain diffusers and nothing of ours.

base      the family's own pipeline class, called as anybody calls it, on a denoiser without any layer of ours
adapter   whatever serves it: handed in as a function
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import nn

from worker.models.base import PipelineFamily
from worker.models.ddim import Diffusion

KNOWN = frozenset({"torch", "diffusers", "transformers"})
"""Packages whose layers a base model is made of; a layer from anywhere else is an adapter's."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How pictures are drawn, on both sides alike."""

    guidance: float
    steps: int


Draw = Callable[[Sequence[str], Sequence[int], Setting], np.ndarray]
"""(prompts, seeds, setting) → pictures uint8 [B, H, W, 3], one for each prompt and seed, in one batch without padding."""


@dataclass(frozen=True, slots=True)
class Side:
    """Who draws, and the module whose forwards are counted. `slots_bytes`: memory beside it that is no part of it."""

    denoiser: nn.Module
    draw: Draw
    slots_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Sides:
    base: Side
    adapter: Side


class Rows:
    """Forwards seen so far, in rows: guidance doubles a picture's rows, so it counts two."""

    def __init__(self) -> None:
        self.seen = 0

    def hook(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        self.seen += len(inputs[0] if inputs else named["hidden_states"])


@contextmanager
def counted(denoiser: nn.Module) -> Iterator[Rows]:
    """Every forward of `denoiser` inside the block, whoever asks for it."""
    rows = Rows()
    handle = denoiser.register_forward_hook(rows.hook, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def foreign_layers(denoiser: nn.Module) -> list[str]:
    """Names of the layers that are not the base model's own, judged by where their class comes from."""
    return [name for name, module in denoiser.named_modules() if type(module).__module__.split(".", 1)[0] not in KNOWN]


def plain(family: PipelineFamily) -> Side:
    """The family's pipeline by its own `__call__`. Raises ValueError where a layer of ours is in the denoiser.

    Its scheduler is the one that the family walks by (DDIM for sd and sdxl, whatever their folder names), so that both
    sides draw the same picture where the adapter is zero.
    """

    def draw(prompts: Sequence[str], seeds: Sequence[int], setting: Setting) -> np.ndarray:
        if found := foreign_layers(family.denoiser):
            raise ValueError(f"the base is measured without adapters, but the denoiser has {', '.join(found[:3])}")
        height, width = (side * family.pipeline.vae_scale_factor for side in family.latent_shape[1:])
        with _walked(family):
            drawn = family.pipeline(
                prompt=list(prompts),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                guidance_scale=_fed(family, setting.guidance),
                num_inference_steps=setting.steps,
                height=height,
                width=width,
                output_type="np",
                **_words(family),
            ).images
        return (drawn * 255).round().astype(np.uint8)

    return Side(family.denoiser, draw)


@contextmanager
def _walked(family: PipelineFamily) -> Iterator[None]:
    own = family.pipeline.scheduler
    if isinstance(family.process, Diffusion):
        family.pipeline.scheduler = DDIMScheduler.from_config(family.process.scheduler.config)
    try:
        yield
    finally:
        family.pipeline.scheduler = own


def _fed(family: PipelineFamily, guidance: float) -> float:
    """A model that takes guidance as an input gets its habit where none is asked for (see `Family`)."""
    return family.embedded_guidance if family.embedded_guidance is not None and guidance <= 1 else guidance


def _words(family: PipelineFamily) -> dict[str, Any]:
    """T5's length, where the family reads another number of tokens than the pipeline's default."""
    length = getattr(family, "text_length", None)
    return {} if length is None else {"max_sequence_length": length}
