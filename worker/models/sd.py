"""Stable Diffusion 1.x and 2.x (ε- and v-prediction) in diffusers' folder format, and `shapes`, which is one of them.

What has a counterpart in `StableDiffusionPipeline` does exactly the same arithmetic in the same dtype: a picture drawn
here is the picture that plain diffusers draws with `DDIMScheduler.from_config(pipeline.scheduler.config)`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.configuration_utils import FrozenDict
from torch import Tensor

from service.domain.errors import JobFailure
from worker.models import lora
from worker.models.counter import Counter
from worker.models.family import Conditions
from worker.sharpening.rng import generator

TRAINED = "trained"
CACHED_PROMPTS = 4096


class DDIM:
    """Stock `DDIMScheduler.step` takes one timestep for the whole batch; so does a walk, by its index."""

    def __init__(self, config: FrozenDict, steps: int) -> None:
        self._scheduler = DDIMScheduler.from_config(config)
        self._scheduler.set_timesteps(steps)
        self.timesteps: tuple[int, ...] = tuple(self._scheduler.timesteps.tolist())

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> tuple[Tensor, Tensor]:
        stepped = self._scheduler.step(prediction, self.timesteps[index], latents)
        return stepped.prev_sample, stepped.pred_original_sample


class StableDiffusion:
    """See `family.py`, the Protocol."""

    def __init__(self, pipeline: StableDiffusionPipeline, resolution: int | None = None) -> None:
        self.pipeline = pipeline
        self.unet, self.vae = pipeline.unet, pipeline.vae
        for part in (self.unet, self.vae, pipeline.text_encoder):
            part.requires_grad_(False).eval()
        self.device, self.dtype = self.unet.device, self.unet.dtype
        side = resolution // pipeline.vae_scale_factor if resolution else self.unet.config.sample_size
        self.latent_shape = (self.unet.config.in_channels, side, side)
        self.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        self.train_timesteps = self.scheduler.config.num_train_timesteps
        self.counter = Counter(self.unet, self.vae.decoder)
        self._worn: str | None = None
        self._encoded = lru_cache(CACHED_PROMPTS)(self._encode)
        self.sampler = lru_cache(lambda steps: DDIM(self.scheduler.config, steps))

    @classmethod
    def load(
        cls, folder: Path, *, device: torch.device, dtype: torch.dtype, resolution: int | None = None
    ) -> "StableDiffusion":
        try:
            pipeline = StableDiffusionPipeline.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                safety_checker=None,
                requires_safety_checker=False,
            )
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            raise JobFailure(
                f"the base model in {folder.name} cannot be loaded as Stable Diffusion: {error}", code="base_unloadable"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to(device), resolution)

    # Text

    def encode(self, prompts: Sequence[str], negatives: Sequence[str] | None = None) -> Conditions:
        def rows(texts: Sequence[str]) -> dict[str, Tensor]:
            return {"encoder_hidden_states": torch.cat([self._encoded(text) for text in texts])}

        return Conditions(rows(prompts), rows(negatives or [""] * len(prompts)))

    @torch.no_grad()
    def _encode(self, prompt: str) -> Tensor:
        """[1, L, D]. One prompt a call, so that its bits do not depend on its company."""
        return self.pipeline.encode_prompt(prompt, self.device, 1, do_classifier_free_guidance=False)[0]

    def truncations(self, prompts: Sequence[str]) -> tuple[str, ...]:
        tokenizer = self.pipeline.tokenizer
        kept = tokenizer.model_max_length - 2  # beside the marks of beginning and end
        sentences = []
        for prompt in dict.fromkeys(prompts):
            tokens = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
            if len(tokens) > kept:
                lost = tokenizer.decode(tokens[kept:])
                sentences.append(f"the text encoder reads {kept} tokens; of {prompt[:60]!r}… it will not see {lost!r}")
        return tuple(sentences)

    # Denoising

    def predict(
        self, latents: Tensor, t: int | Tensor, conditions: Conditions, guidance: float | Sequence[float] = 1.0
    ) -> Tensor:
        count = len(latents)
        scales = [guidance] * count if isinstance(guidance, int | float) else list(guidance)
        guided = [row for row, scale in enumerate(scales) if scale > 1]
        latents = latents.to(self.dtype)
        t = torch.as_tensor(t, device=self.device).expand(count)
        inputs = dict(conditions.positive)
        if guided:  # negatives first, as the pipeline has them
            latents, t = torch.cat([latents[guided], latents]), torch.cat([t[guided], t])
            inputs = {name: torch.cat([conditions.negative[name][guided], value]) for name, value in inputs.items()}
        prediction = self.unet(latents, t, **inputs, return_dict=False)[0]
        if not guided:
            return prediction
        free, bound = prediction[: len(guided)], prediction[len(guided) :]
        rows = torch.tensor(guided, device=self.device)
        weight = torch.tensor([float(scales[row]) for row in guided], device=self.device).view(-1, 1, 1, 1)
        return bound.index_put((rows,), free + (weight * (bound[rows] - free)).to(self.dtype))

    def renoise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self.scheduler.add_noise(clean, noise, t)

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        match self.scheduler.config.prediction_type:
            case "epsilon":
                return noise
            case "v_prediction":
                return self.scheduler.get_velocity(clean, noise, t)
            case other:
                raise JobFailure(
                    f"the base model predicts {other!r}; known are epsilon and v_prediction", code="base_unloadable"
                )

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        decoded = self.vae.decode(latents.to(self.dtype) / self.vae.config.scaling_factor, return_dict=False)[0]
        unit = (decoded * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu()
        return (unit * 255).round().to(torch.uint8)

    # The adapter in training

    def add_adapter(self, rank: int, targets: Sequence[str], seed: int) -> dict[str, Tensor]:
        layers = lora.layer_names(self.unet, lora.UNET_TARGETS, targets)
        self.unet.add_adapter(lora.config(rank, layers), TRAINED)
        parameters = lora.tensors(self.unet, TRAINED)
        for parameter in parameters.values():
            parameter.data = parameter.data.float()
        lora.initialise(parameters, generator(seed, 0, 0, "adapter"))
        return dict(parameters)

    def adapter_off(self) -> AbstractContextManager[None]:
        return lora.switched_off(self.unet)

    def adapter_folded(self) -> AbstractContextManager[None]:
        return lora.folded(self.unet) if self.dtype == torch.float32 else nullcontext()

    def export(self, tensors: Mapping[str, Tensor]) -> bytes:
        """peft's names throughout: diffusers' converter renames attention only, and its loader wants one style."""
        packed = self.pipeline.pack_weights({name: value.detach().cpu() for name, value in tensors.items()}, "unet")
        return safetensors.torch.save(packed, metadata={"format": "pt"})

    # Adapters in serving

    def load_adapter(self, name: str, data: bytes) -> None:
        with lora.several_are_meant():
            self.unet.load_lora_adapter(safetensors.torch.load(data), prefix="unet", adapter_name=name)
        self.unet.requires_grad_(False)
        self.wear(self._worn)  # loading puts the new one on

    def wear(self, name: str | None) -> None:
        if name is not None:
            self.unet.set_adapter(name)
            self.unet.enable_adapters()
        elif getattr(self.unet, "peft_config", None):
            self.unet.disable_adapters()
        self._worn = name

    def drop_adapter(self, name: str) -> None:
        if self._worn == name:
            self.wear(None)
        with lora.several_are_meant():
            self.unet.delete_adapters(name)
