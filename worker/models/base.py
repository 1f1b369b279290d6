"""What the families share: a diffusers pipeline with a denoiser, guidance, the VAE, and the adapter in and out.

A family adds its text (`_encode`), its denoiser's call (`_call`) and its process (`ddim.py`, `flow.py`). What has a
counterpart in the pipeline does exactly the same arithmetic in the same dtype: a picture drawn here is the picture that
plain diffusers draws with the same scheduler.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import safetensors.torch
import torch
from diffusers import AutoencoderTiny, DiffusionPipeline
from torch import Tensor, nn

from service.domain.errors import JobFailure
from worker.memory import is_out_of_memory
from worker.models import lean, lora
from worker.models.counter import Counter
from worker.models.ddim import Diffusion
from worker.models.family import Conditions
from worker.models.flow import Flow
from worker.models.text import Reader, Row, TextCache
from worker.models.visiting import visiting
from worker.sharpening.rng import generator

TRAINED = "trained"
DECODED_PIXELS = 2**20
"""Of one call of the VAE: one picture of 1024 px, four of 512, 256 of 64."""


class PipelineFamily(ABC):
    """See `family.py`, the Protocol. `resolution`: side of a picture in pixels, by default the pipeline's own."""

    pipeline_class: ClassVar[type[DiffusionPipeline]]
    part: ClassVar[str]
    """The denoiser's name in the pipeline, and the prefix of its layers in an adapter's file."""
    groups: ClassVar[Mapping[str, tuple[str, ...]]]
    """The layers of each group of targets, by the ends of their names."""
    embedded_guidance: float | None = None
    free_guidance: ClassVar[bool] = True
    recomputes: ClassVar[bool] = False

    def __init__(
        self, pipeline: Any, process: Diffusion | Flow, latent_shape: tuple[int, int, int], readers: Sequence[Reader]
    ) -> None:
        self.pipeline, self.process, self.latent_shape = pipeline, process, latent_shape
        self.denoiser: nn.Module = getattr(pipeline, self.part)
        self.vae = pipeline.vae
        for component in pipeline.components.values():
            if isinstance(component, nn.Module):
                component.requires_grad_(False).eval()
        self.device, self.dtype = self.denoiser.device, self.denoiser.dtype
        self.train_timesteps = process.train_timesteps
        self.counter = Counter(self.denoiser, self.vae.decoder)
        self.sampler = lru_cache(process.sampler)
        self._readers = readers
        self._parked = [part for part in text_encoders(pipeline).values() if part.device != self.device]
        self._texts, self._negatives = TextCache(), TextCache()
        self._preview: AutoencoderTiny | None = None
        self._worn: str | None = None

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        resolution: int | None = None,
        parks_text: bool = False,
        **words: Any,
    ) -> Self:
        """Raises JobFailure `base_unloadable`, and want of memory as torch says it. `parks_text`: see `load.py`; `words` go to
        the pipeline."""
        try:
            pipeline = cls.pipeline_class.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, **{**_absent(folder), **words}
            )
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            raise JobFailure(
                f"the base model in {folder.name} cannot be loaded by {cls.pipeline_class.__name__}: {error}",
                code="base_unloadable",
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        parked = text_encoders(pipeline) if parks_text else {}
        for name, component in pipeline.components.items():
            if isinstance(component, nn.Module) and name not in parked:
                component.to(device)
        return cls(pipeline, resolution)

    # Text

    @abstractmethod
    def _encode(self, prompt: str) -> Row:
        """One prompt's row of conditions, by the denoiser's argument names."""

    def _encode_negative(self, prompt: str) -> Row:
        return self._encode(prompt)

    def encode(self, prompts: Sequence[str], negatives: Sequence[str] | None = None) -> Conditions:
        positive = self._texts.rows(prompts, self._encode, self.device, self._reading)
        without = negatives or [""] * len(prompts)
        return Conditions(positive, self._negatives.rows(without, self._encode_negative, self.device, self._reading))

    def _reading(self) -> AbstractContextManager[None]:
        """Parked text encoders are on the device inside the block."""
        return visiting(self._parked, self.device) if self._parked else nullcontext()

    def truncations(self, prompts: Sequence[str]) -> tuple[str, ...]:
        sentences = (reader.truncation(prompt) for prompt in prompts for reader in self._readers)
        return tuple(dict.fromkeys(filter(None, sentences)))

    # Denoising

    def _call(self, latents: Tensor, t: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """One forward of the denoiser; a family needs it, or a `predict` of its own (FLUX: no free guidance)."""
        raise TypeError(f"{type(self).__name__} has neither _call nor a predict of its own")

    def predict(
        self, latents: Tensor, t: float | Tensor, conditions: Conditions, guidance: float | Sequence[float] = 1.0
    ) -> Tensor:
        """With classifier-free guidance, for the rows whose guidance is above 1."""
        count = len(latents)
        scales = [guidance] * count if isinstance(guidance, int | float) else list(guidance)
        guided = [row for row, scale in enumerate(scales) if scale > 1]
        latents, t = latents.to(self.dtype), self._times(t, count)
        inputs = dict(conditions.positive)
        if not guided:
            return self._call(latents, t, inputs)
        rows = slice(None) if len(guided) == count else torch.tensor(guided, device=self.device)
        latents, t = (
            torch.cat([latents[rows], latents]),
            torch.cat([t[rows], t]),
        )  # negatives first, as the pipeline has them
        inputs = {name: torch.cat([conditions.negative[name][rows], value]) for name, value in inputs.items()}
        prediction = self._call(latents, t, inputs)
        free, bound = prediction[: len(guided)], prediction[len(guided) :]
        weight = torch.tensor([float(scales[row]) for row in guided], device=self.device).view(-1, 1, 1, 1)
        steered = free + (weight * (bound[rows] - free)).to(self.dtype)
        return steered if len(guided) == count else bound.index_put((rows,), steered)

    def _times(self, t: float | Tensor, count: int) -> Tensor:
        return self.process.times(torch.as_tensor(t, device=self.device)).expand(count)

    def renoise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self.process.renoise(clean, noise, t)

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self.process.target(clean, noise, t)

    def enable_gradient_checkpointing(self) -> None:
        self.denoiser.enable_gradient_checkpointing()

    # Pictures

    def _unscaled(self, latents: Tensor) -> Tensor:
        """From the denoiser's scale to the VAE's."""
        return latents / self.vae.config.scaling_factor

    def _scaled(self, latents: Tensor) -> Tensor:
        """From the VAE's scale to the denoiser's: the inverse of `_unscaled`."""
        return latents * self.vae.config.scaling_factor

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> Tensor:
        height, width = (side * self.pipeline.vae_scale_factor for side in self.latent_shape[1:])
        if pictures.shape[1:] != (height, width, 3):
            raise JobFailure(
                f"pictures of {pictures.shape[2]}×{pictures.shape[1]} px were given to a base model of {width}×{height}: "
                "bring them to its size",
                code="image_size",
            )
        encoded = []
        for part in pictures.split(self._at_a_time):
            unit = part.to(self.device).float().permute(0, 3, 1, 2) / 127.5 - 1
            encoded.append(self.vae.encode(unit.to(self.vae.dtype)).latent_dist.mode())
        return self._scaled(torch.cat(encoded)).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        unscaled = self._unscaled(latents.to(self.vae.dtype))
        return self._drawn(lambda part: self.vae.decode(part, return_dict=False)[0], unscaled)

    def _drawn(self, decode: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
        return torch.cat([_pictures(decode(part)) for part in latents.split(self._at_a_time)])

    @property
    def _at_a_time(self) -> int:
        """Pictures in one VAE call: its activations are the largest of all, and previews come by the dozen."""
        _, height, width = self.latent_shape
        return max(1, DECODED_PIXELS // (height * width * self.pipeline.vae_scale_factor**2))

    def load_preview_decoder(self, folder: Path) -> None:
        """diffusers' AutoencoderTiny, which reads latents as the denoiser writes them. Raises what `load` raises."""
        try:
            tiny = AutoencoderTiny.from_pretrained(folder, dtype=self.dtype, local_files_only=True)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            raise JobFailure(
                f"the preview decoder in {folder.name} cannot be loaded as AutoencoderTiny: {error}",
                code="base_unloadable",
            ) from error
        if tiny.config.latent_channels != self.latent_shape[0]:
            raise JobFailure(
                f"the preview decoder in {folder.name} reads {tiny.config.latent_channels} latent channels and this base "
                f"model has {self.latent_shape[0]}: name the one that was made for it in the catalogue",
                code="base_unloadable",
            )
        self._preview = tiny.to(self.device).requires_grad_(False).eval()
        self.counter.watch_decoder(tiny.decoder)

    @torch.no_grad()
    def decode_preview(self, latents: Tensor) -> Tensor:
        if self._preview is None:
            return self.decode(latents)
        tiny = self._preview
        scaled = latents.to(self.dtype) / tiny.config.scaling_factor
        return self._drawn(lambda part: tiny.decode(part, return_dict=False)[0], scaled)

    # The adapter in training

    def add_adapter(self, rank: int, targets: Sequence[str], seed: int) -> dict[str, Tensor]:
        layers = lora.layer_names(self.denoiser, self.groups, targets)
        self.denoiser.add_adapter(lora.config(rank, layers), TRAINED)
        parameters = lora.tensors(self.denoiser, TRAINED)
        for parameter in parameters.values():
            parameter.data = parameter.data.float()
        if self.dtype == torch.bfloat16:
            lean.slim(self.denoiser, TRAINED)
        lora.initialise(parameters, generator(seed, 0, 0, "adapter"))
        return dict(parameters)

    def adapter_off(self) -> AbstractContextManager[None]:
        return lora.switched_off(self.denoiser)

    def adapter_folded(self) -> AbstractContextManager[None]:
        return lora.folded(self.denoiser) if self.dtype == torch.float32 else lean.cast(self.denoiser)

    def export(self, tensors: Mapping[str, Tensor]) -> bytes:
        """peft's names throughout: diffusers' converter renames attention only, and its loader wants one style."""
        packed = self.pipeline.pack_weights({name: value.detach().cpu() for name, value in tensors.items()}, self.part)
        return safetensors.torch.save(packed, metadata={"format": "pt"})

    def read_adapter(self, data: bytes) -> dict[str, Tensor]:
        prefix = f"{self.part}."
        return {name.removeprefix(prefix): value for name, value in safetensors.torch.load(data).items()}

    def export_kohya(self, tensors: Mapping[str, Tensor]) -> bytes | None:
        return None

    # Adapters in serving

    def load_adapter(self, name: str, data: bytes) -> None:
        with lora.several_are_meant():
            self.denoiser.load_lora_adapter(safetensors.torch.load(data), prefix=self.part, adapter_name=name)
        self.denoiser.requires_grad_(False)
        self.wear(self._worn)  # loading puts the new one on

    def wear(self, name: str | None) -> None:
        if name is not None:
            self.denoiser.set_adapter(name)
            self.denoiser.enable_adapters()
        elif getattr(self.denoiser, "peft_config", None):
            self.denoiser.disable_adapters()
        self._worn = name

    def drop_adapter(self, name: str) -> None:
        if self._worn == name:
            self.wear(None)
        with lora.several_are_meant():
            self.denoiser.delete_adapters(name)


def text_encoders(pipeline: Any) -> dict[str, nn.Module]:
    """Those that the folder has, by their names in the pipeline."""
    return {
        name: component
        for name, component in pipeline.components.items()
        if name.startswith("text_encoder") and isinstance(component, nn.Module)
    }


def side_of(pipeline: Any, resolution: int | None, sample_size: int, multiple: int) -> int:
    """Side of the latent. Raises JobFailure `base_unloadable` where a picture of that side cannot be cut into patches."""
    side = resolution // pipeline.vae_scale_factor if resolution else sample_size
    if resolution and resolution % (pipeline.vae_scale_factor * multiple):
        raise JobFailure(
            f"pictures of {resolution} px cannot be drawn by this base model: choose a resolution in the catalogue that "
            f"{pipeline.vae_scale_factor * multiple} divides",
            code="base_unloadable",
        )
    return side


def _absent(folder: Path) -> dict[str, None]:
    """Parts that the folder says it has not (SD3 without T5): from_pretrained wants to be told."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return {name: None for name, value in index.items() if isinstance(value, list) and value[0] is None}


def _pictures(decoded: Tensor) -> Tensor:
    if not decoded.isfinite().all():  # as whole numbers they would be black, and nobody would be told
        raise JobFailure(
            "the VAE gives pictures that are not numbers: use bf16 or fp32 (`dtype` of a job), and check the base model's VAE with "
            "plain diffusers",
            code="nan_pictures",
        )
    unit = (decoded * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu()
    return (unit * 255).round().to(torch.uint8)
