"""The methods that sharpening is compared with; each may be picked for a job as well."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from service.domain.catalogue import DIFFUSIONS, BaseModelEntry
from service.domain.methods.common import Drawn, Noised, Paired

FLOW_NOISE = 0.7
"""a of Flow-GRPO's published configurations (docs/recipes.md)."""


class OnlineDPO(Paired):
    """Online DPO: sharpening-rlhf's loss on pairs chosen by the finished picture alone (no trajectory)."""

    type: Literal["online-dpo"]


class DiffusionDPO(Paired):
    """Diffusion-DPO (arXiv 2311.12908), offline: each prompt's pair is drawn and judged once, with the base model."""

    type: Literal["diffusion-dpo"]


class SFT(Noised):
    """Supervised fine-tuning on the base model's own pictures, drawn once: on the best of them, or on all."""

    guarded: ClassVar[bool] = True
    type: Literal["sft"]
    keep: Literal["best", "all"] = Field(default="best", description="Which of a prompt's candidates are learned from.")
    timesteps_per_sample: int = Field(default=8, ge=1, le=32, description="Noise levels at which a picture is used.")
    anchor: float = Field(
        default=0.01, ge=0, le=1e4, description="Weight of the squared distance to the base model's own prediction."
    )


class DDPO(Drawn):
    """DDPO (arXiv 2305.13301): policy gradient over all steps of stochastic rollouts, advantages per prompt, PPO clip.

    Flow models are made stochastic as in Flow-GRPO (arXiv 2505.05470).
    """

    type: Literal["ddpo"]
    prompts_per_step: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Prompts of one batch of rollouts; with 8 candidates in 2 steps, each step learns from 64 pictures.",
    )
    noise_level: float | None = Field(
        default=None,
        gt=0,
        le=2,
        description="Of the stochastic sampler: DDIM's η (sd, sdxl; at most 1, and 1 if null), or a of Flow-GRPO (sd3, flux; 0.7 if null).",
    )
    clip_range: float = Field(default=1e-2, gt=0, le=1, description="PPO's ε: ratios are clipped to 1 ± this.")
    steps_per_batch: int = Field(
        default=2, ge=1, le=16, description="Optimiser steps on one batch of rollouts, each on its share of them."
    )

    @property
    def share_of_rate(self) -> float:
        return 0.3

    @property
    def noise(self) -> float:
        """The noise level of a method in a recipe, which is settled."""
        assert self.noise_level is not None, "settled when the job is posted"
        return self.noise_level

    def at(self, base: BaseModelEntry) -> Self:
        method = super().at(base)
        level = 1.0 if base.family in DIFFUSIONS else FLOW_NOISE
        return method if method.noise_level is not None else method.model_copy(update={"noise_level": level})


class ForwardProcess(Noised):
    """Forward-process policy optimisation as in DiffusionNFT (arXiv 2509.16117): all candidates, signed by their reward,
    around a slowly moving old policy, which also draws them."""

    type: Literal["forward-process"]
    timesteps_per_sample: int = Field(default=4, ge=1, le=32, description="Noise levels at which a picture is used.")
    mix: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="β of the paper: how far the positive and negative policies lie from the old.",
    )
    old_decay: float = Field(default=0.5, ge=0, lt=1, description="Decay of the old policy; 0: fully on-policy.")
    anchor: float = Field(
        default=0.0,
        ge=0,
        le=1e4,
        description="Weight of the squared distance to the base model's own prediction; above 0 it costs a forward a level and picture.",
    )
