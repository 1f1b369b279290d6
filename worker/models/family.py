"""How a base model is driven: what every family (sd, sdxl, sd3, flux) offers to training and serving.

In the order in which they are used:

    family = load("sd", folder, device="auto", dtype="auto")    # models/load.py; JobFailure where that fails
    conditions = family.encode(["a red circle"])                # a row a prompt; conditions[rows] picks, repeats
    sampler = family.sampler(steps=20)                          # the pipeline's own schedule, as diffusers walks it
    latents = initial noise                                     # [B, *family.latent_shape]
    for index, t in enumerate(sampler.timesteps):
        prediction = family.predict(latents, t, conditions, guidance=3.0)
        latents, preview = sampler.step(prediction, index, latents)
    pictures = family.decode(latents)                           # uint8 [B, H, W, 3]

`evaluation/draw.py` is that loop. `predict` takes one timestep and one guidance for all rows or one for each, so that
requests of different progress can share a call.

Time. A whole number t is a place in the training schedule, 0 (least noise) to `train_timesteps` − 1: this is what an
algorithm that picks a share of the schedule passes, `(share * train_timesteps).long()`. A floating t is the model's own
time, which is what a sampler's `timesteps` of flow models are, because a sampler stops between the places of training.
For sd and sdxl the two are the same and everything is whole. For sd3 and flux place i is the time 1000 σ_i, with the
schedule's shift applied: uniform places are the noise levels that the model was made for. So nobody branches on the
family; only never round a sampler's timestep (`torch.full_like` on whole numbers does).

                        state x_t              the network predicts       clean latent out of it (`preview`)
    sd, sdxl (DDPM)     √ᾱ x_0 + √(1−ᾱ) ε      ε, or v = √ᾱ ε − √(1−ᾱ) x_0   Tweedie: solved for x_0
    sd3, flux (flow)    (1−σ) x_0 + σ ε        v = ε − x_0                x_t − σ v

Guidance. Classifier-free guidance above 1 costs a second forward. A model that was distilled to take guidance as an
input (FLUX.1-dev) has `embedded_guidance`: one forward, whatever the value; 1 stands for that value, so rollouts, losses
and drawings that ask for nothing feed the same embedding. FLUX.1-schnell knows no guidance and ignores it.

Training: `add_adapter` gives the trainable fp32 tensors by name, `adapter_off()` is the reference model, `export`
makes the file. Serving: `load_adapter(name, data)` once, `wear(name)` before a call (None: the base alone),
`drop_adapter(name)` to forget it.
Every denoiser and decoder call is counted by hooks in `family.counter`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from worker.models.counter import Counter
from worker.models.ddim import Diffusion
from worker.models.flow import Flow


@dataclass(frozen=True, slots=True)
class Conditions:
    """Encoded prompts, one row each: what the denoiser takes beside latents and time, by argument name."""

    positive: Mapping[str, Tensor]
    negative: Mapping[str, Tensor]  # empty where the family knows no classifier-free guidance

    def __len__(self) -> int:
        return len(next(iter(self.positive.values())))

    def __getitem__(self, rows: Tensor | slice | Sequence[int]) -> "Conditions":
        return Conditions(
            {name: value[rows] for name, value in self.positive.items()},
            {name: value[rows] for name, value in self.negative.items()},
        )


class Sampler(Protocol):
    """A walk from noise to picture in a fixed number of steps."""

    timesteps: tuple[float, ...]

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> tuple[Tensor, Tensor]:
        """From the state at `timesteps[index]`, deterministic: (the next state, the preview of the clean latent)."""

    def stochastic(self, prediction: Tensor, index: int, latents: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """The same step as a Gaussian with the same marginals: (its mean, its standard deviation, a scalar).

        The caller draws mean + std · ε and scores with N(mean, std²); differentiable in `prediction`. eta = 0 is `step`.
        The std is 0 where the next state is the picture, without noise (the last step): nothing is to be scored there.
        """


class Family(Protocol):
    """One loaded base model on one device."""

    device: torch.device
    dtype: torch.dtype
    denoiser: nn.Module
    latent_shape: tuple[int, int, int]
    train_timesteps: int
    process: Diffusion | Flow
    embedded_guidance: float | None
    counter: Counter

    @property
    def free_guidance(self) -> bool:
        """Whether guidance above 1 is classifier-free: a second forward."""

    def encode(self, prompts: Sequence[str], negatives: Sequence[str] | None = None) -> Conditions:
        """One row a prompt. A prompt's row depends on nothing but the prompt, bit for bit. Negatives default to ""."""

    def truncations(self, prompts: Sequence[str]) -> tuple[str, ...]:
        """A sentence for each prompt that is longer than a text encoder reads: which part it will not see."""

    def sampler(self, steps: int) -> Sampler:
        """The base model's schedule in `steps` steps."""

    def predict(
        self, latents: Tensor, t: float | Tensor, conditions: Conditions, guidance: float | Sequence[float] = 1.0
    ) -> Tensor:
        """The prediction [B, *latent_shape] in `dtype`; with classifier-free guidance a row above 1 costs two forwards."""

    def renoise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Forward process q(x_t | x_0), in fp32 whatever the dtypes are; t [B]."""

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What a perfect denoiser would predict at `renoise(clean, noise, t)`."""

    def latents(self, pictures: Tensor) -> Tensor:
        """Clean latents of pictures uint8 [B, H, W, 3], fp32: the mode of the VAE's posterior."""

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures, uint8 [B, H, W, 3] on the CPU, rounded as diffusers rounds them. Raises JobFailure `nan_pictures`."""

    def decode_preview(self, latents: Tensor) -> Tensor:
        """The same by the small preview decoder (TAESD) where one was loaded, else by `decode`."""

    def enable_gradient_checkpointing(self) -> None:
        """Keep a block's inputs only and compute it again in the backward: less memory, the same gradient."""

    @property
    def recomputes(self) -> bool:
        """Whether training should always do that here: what autograd keeps of one picture fills a good part of a GPU."""

    def add_adapter(self, rank: int, targets: Sequence[str], seed: int) -> dict[str, Tensor]:
        """A new trainable LoRA, fp32, alpha = rank, B = 0: its tensors by their names in the exported file."""

    def adapter_off(self) -> AbstractContextManager[None]:
        """The base alone, inside the block."""

    def adapter_folded(self) -> AbstractContextManager[None]:
        """The worn adapter as it is for many forwards without gradients, inside the block: added into the weights in fp32, cast
        once in bf16. Faster, equal up to rounding; the adapter must not change there."""

    def export(self, tensors: Mapping[str, Tensor]) -> bytes:
        """The adapter as a safetensors file that the family's plain diffusers pipeline loads."""

    def read_adapter(self, data: bytes) -> dict[str, Tensor]:
        """The tensors of an exported adapter by the names that `add_adapter` gives."""

    def export_kohya(self, tensors: Mapping[str, Tensor]) -> bytes | None:
        """The adapter under kohya's keys, for ComfyUI and the like; None: the family's tools read diffusers' keys."""

    def load_adapter(self, name: str, data: bytes) -> None:
        """Register an exported adapter; it is worn only after `wear(name)`."""

    def wear(self, name: str | None) -> None:
        """Draw with this adapter from now on; None: with the base alone."""

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter and free its memory."""
