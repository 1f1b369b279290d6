"""The training methods that a recipe may name, as a tagged union, each hyper-parameter with its bound and its default."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SharpeningRLHF(BaseModel):
    """Diffusion-Sharpening, RLHF form (arXiv 2502.12146, Algorithm 2): prompts only, best against worst trajectory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["sharpening-rlhf"]
    candidates: int = Field(default=8, ge=2, le=64, description="n: trajectories searched for each prompt.")
    states: Literal["rollout"] = Field(
        default="rollout", description="Which states a candidate is judged on: those its own rollout passed through."
    )
    trajectory_length: int = Field(
        default=2, ge=1, le=50, description="m: how many states, the last of the rollout, have their rewards summed."
    )
    rollout_steps: int = Field(default=8, ge=2, le=100, description="Sampler steps of a rollout.")
    rollout_guidance: float = Field(
        default=1.0, ge=1.0, le=20.0, description="Guidance scale of the rollouts; 1 is without (half the cost)."
    )
    loss_guidance: float = Field(
        default=1.0,
        ge=1.0,
        le=20.0,
        description="Guidance scale of the prediction that the loss compares; 1 is the conditional prediction alone.",
    )
    prompts_per_step: int = Field(default=8, ge=1, le=256, description="Prompts searched in one optimiser step.")
    timesteps_per_pair: int = Field(
        default=8, ge=1, le=32, description="Noise levels at which each best/worst pair is compared, shared within it."
    )
    least_noise: float = Field(
        default=0.75,
        ge=0.0,
        lt=1.0,
        description="Pairs are compared from this share of the noise schedule up to its end; layout is decided above 0.7.",
    )
    micro_batch: int | Literal["auto"] = Field(
        default="auto",
        description="Most pictures of one denoiser call: memory and speed, never the result; lower it if memory runs out.",
    )
    beta: float | Literal["auto"] = Field(
        default="auto",
        description="Strength of the preference, on squared errors relative to the reference's own at the same state; "
        '"auto" sets it at the first steps to the reciprocal of the median gap between best and worst, and records it.',
    )
    learning_rate: float = Field(default=1e-3, gt=0, le=1e-1, description="Peak learning rate (AdamW).")
    schedule: Literal["linear", "constant"] = Field(default="linear", description="linear falls to 0 at the last step.")
    warmup_steps: int = Field(default=0, ge=0, le=10_000, description="Steps of linear warm-up.")
    max_grad_norm: float = Field(default=1.0, gt=0, le=1e6, description="Gradients are clipped to this norm.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="AdamW's decoupled weight decay.")
    ema_decay: float = Field(
        default=0.95, ge=0, lt=1, description="Decay of the averaged adapter, which is delivered; 0: none."
    )

    @model_validator(mode="after")
    def _states_fit_the_rollout(self) -> "SharpeningRLHF":
        if self.trajectory_length > self.rollout_steps:
            raise ValueError(
                f"trajectory_length ({self.trajectory_length}) is above rollout_steps ({self.rollout_steps}): "
                "a rollout has one state per step; lower the one or raise the other"
            )
        if self.micro_batch != "auto" and not 1 <= self.micro_batch <= 4096:
            raise ValueError('micro_batch must be "auto" or a number from 1 to 4096')
        if self.beta != "auto" and not 0 < self.beta <= 1e6:
            raise ValueError('beta must be "auto" or a number above 0 and at most 1e6')
        return self


Method = SharpeningRLHF
METHODS: tuple[type[BaseModel], ...] = (SharpeningRLHF,)
