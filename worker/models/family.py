"""How a base model is driven: what every family (sd today; sdxl, sd3, flux to come) offers to training and serving.

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
from torch import Tensor

from worker.models.counter import Counter


@dataclass(frozen=True, slots=True)
class Conditions:
    """Encoded prompts, one row each: what the denoiser takes beside latents and time, by argument name."""

    positive: Mapping[str, Tensor]
    negative: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.positive.values())))

    def __getitem__(self, rows: Tensor | slice | Sequence[int]) -> "Conditions":
        return Conditions(
            {name: value[rows] for name, value in self.positive.items()},
            {name: value[rows] for name, value in self.negative.items()},
        )


class Sampler(Protocol):
    """A deterministic walk from noise to picture in a fixed number of steps."""

    timesteps: tuple[int, ...]

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> tuple[Tensor, Tensor]:
        """From the state at `timesteps[index]`: (the next state, the preview of the clean latent)."""


class Family(Protocol):
    """One loaded base model on one device."""

    device: torch.device
    dtype: torch.dtype
    latent_shape: tuple[int, int, int]
    train_timesteps: int
    counter: Counter

    def encode(self, prompts: Sequence[str], negatives: Sequence[str] | None = None) -> Conditions:
        """One row a prompt. A prompt's row depends on nothing but the prompt, bit for bit. Negatives default to ""."""

    def truncations(self, prompts: Sequence[str]) -> tuple[str, ...]:
        """A sentence for each prompt that is longer than the text encoder reads: which part it will not see."""

    def sampler(self, steps: int) -> Sampler:
        """The base model's schedule in `steps` steps."""

    def predict(
        self, latents: Tensor, t: int | Tensor, conditions: Conditions, guidance: float | Sequence[float] = 1.0
    ) -> Tensor:
        """The prediction [B, *latent_shape] in `dtype`; a row with guidance > 1 costs two forwards, else one."""

    def renoise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Forward process q(x_t | x_0), computed in the dtype of `clean`; t [B]."""

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What a perfect denoiser would predict at `renoise(clean, noise, t)`: ε or v."""

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures, uint8 [B, H, W, 3] on the CPU, rounded as diffusers rounds them."""

    def add_adapter(self, rank: int, targets: Sequence[str], seed: int) -> dict[str, Tensor]:
        """A new trainable LoRA, fp32, alpha = rank, B = 0: its tensors by their names in the exported file."""

    def adapter_off(self) -> AbstractContextManager[None]:
        """The base alone, inside the block."""

    def adapter_folded(self) -> AbstractContextManager[None]:
        """The worn adapter may be added into the weights inside the block: faster, equal up to rounding, no gradients."""

    def export(self, tensors: Mapping[str, Tensor]) -> bytes:
        """The adapter as a safetensors file that the family's plain diffusers pipeline loads."""

    def load_adapter(self, name: str, data: bytes) -> None:
        """Register an exported adapter; it is worn only after `wear(name)`."""

    def wear(self, name: str | None) -> None:
        """Draw with this adapter from now on; None: with the base alone."""

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter and free its memory."""
