"""The models that are measured, each with adapters that change every picture: the small real base, and SD1.5's own shapes with
random weights (speed does not depend on what the weights say)."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.bf16 import in_bf16
from benchmarks.step import shapes
from service.domain.catalogue import BaseModelEntry
from tests.worker import tiny
from worker.inference.adapters.file import read
from worker.inference.engine.requests import LoraFile
from worker.models.base import PipelineFamily
from worker.models.load import load

ROOT = Path(__file__).parents[2]
RANK = 16
LINEAR = ("attention", "feed-forward")
ALL = (*LINEAR, "conv")
STEPS = 10
GUIDANCE = 3.0
"""The catalogue's for `shapes`: 20 denoiser forwards a picture."""


@dataclass(frozen=True, slots=True)
class Place:
    """A base model's folder and the files of its adapters."""

    model: str
    device: str
    folder: Path
    entry: BaseModelEntry
    files: tuple[Path, ...]

    @property
    def dtype(self) -> Literal["fp32", "bf16"]:
        """What either serves in where it computes."""
        return "fp32" if self.device == "cpu" else "bf16"

    def family(self) -> PipelineFamily:
        """A fresh one, as it was loaded: nothing of ours in the denoiser."""
        family = load(
            self.entry.family, self.folder, device=self.device, dtype=self.dtype, resolution=self.entry.resolution
        )
        assert isinstance(family, PipelineFamily)
        return family

    def loras(self, count: int) -> list[LoraFile]:
        return [_read(path) for path in self.files[:count]]


def small(folder: Path, *, adapters: int, targets: Sequence[str] = LINEAR, device: str = "cpu") -> Place:
    return _place("shapes", ROOT / "examples/shapes/base", 64, folder, adapters, targets, device, spread=0.02)


def sd15(folder: Path, *, adapters: int, targets: Sequence[str] = LINEAR, device: str = "cpu") -> Place:
    """The U-Net and the VAE are SD1.5's in every dimension; the text encoder has its width and two layers, and reads 16 tokens.

    On a CPU it draws 256 px: a call of eight at 512 px takes most of a minute there. What slots add weighs more at 256.
    """
    made = folder / "sd15"
    if not made.exists():
        with _drawn_where_it_serves(device):
            parts = {
                "vae": AutoencoderKL(**shapes.VAE),
                "text_encoder": CLIPTextModel(_text(768, 12)),
                "unet": UNet2DConditionModel(**shapes.SD15_UNET),
            }
        StableDiffusionPipeline(
            **parts,
            tokenizer=tiny.tokenizer(folder / "tokenizer"),
            scheduler=_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(made)
    pixels = 256 if device == "cpu" else 512
    model = f"sd15-shaped, {pixels} px, random weights"
    return _place(model, made, pixels, folder, adapters, targets, device, spread=0.1)


def sdxl(
    folder: Path, *, adapters: int, targets: Sequence[str] = LINEAR, device: str = "cuda", unet: Any = shapes.SDXL_UNET
) -> Place:
    """As `sd15`, in SDXL's dimensions, at its 1024 px: for a GPU. `unet`: a smaller one to try this on."""
    made = folder / "sdxl"
    if not made.exists():
        with _drawn_where_it_serves(device):
            parts = {
                "vae": AutoencoderKL(**shapes.VAE),
                "text_encoder": CLIPTextModel(_text(768, 12)),
                "text_encoder_2": CLIPTextModelWithProjection(_text(1280, 20)),
                "unet": UNet2DConditionModel(**unet),
            }
        StableDiffusionXLPipeline(
            **parts,
            tokenizer=tiny.tokenizer(folder / "tokenizer"),
            tokenizer_2=tiny.tokenizer(folder / "tokenizer_2"),
            scheduler=_scheduler(),
        ).save_pretrained(made)
    return _place("sdxl-shaped, 1024 px, random weights", made, 1024, folder, adapters, targets, device, spread=0.1)


def _drawn_where_it_serves(device: str) -> AbstractContextManager[None]:
    """Modules made inside the block get the same weights again, on a GPU in bf16: a CPU takes a minute for SDXL's."""
    torch.manual_seed(0)
    return nullcontext() if device == "cpu" else in_bf16(device)


def _text(width: int, heads: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=200, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=2, num_attention_heads=heads,
        projection_dim=width, max_position_embeddings=tiny.LENGTH, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip


def _scheduler() -> DDIMScheduler:
    return DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)


def _place(  # noqa: PLR0917 — what a place is
    model: str,
    base: Path,
    resolution: int,
    folder: Path,
    adapters: int,
    targets: Sequence[str],
    device: str,
    *,
    spread: float,
) -> Place:
    """`spread`: the standard deviation of the adapters' weights, so large that `calls.Pair.check` sees each adapter."""
    entry = BaseModelEntry(
        name="b", source=str(base), family="sdxl" if (base / "text_encoder_2").exists() else "sd", resolution=resolution,
        num_inference_steps=STEPS, guidance_scale=GUIDANCE,
    )  # fmt: skip
    place = Place(model, device, base, entry, ())
    home = folder / f"adapters-{resolution}-{'-'.join(targets)}"
    if not home.exists():
        home.mkdir()
        family = place.family()
        layout = family.add_adapter(RANK, list(targets), 0)
        for number in range(adapters):
            chance = torch.Generator().manual_seed(number)
            drawn = {name: torch.randn(each.shape, generator=chance) * spread for name, each in layout.items()}
            (home / f"{number}.safetensors").write_bytes(family.export(drawn))
    files = tuple(home / f"{number}.safetensors" for number in range(adapters))
    return Place(model, device, base, entry, files)


def _read(path: Path) -> LoraFile:
    data = path.read_bytes()
    assert safetensors.torch.load(data)
    return read(f"{path.stem}@1", hashlib.sha256(data).hexdigest(), data)
