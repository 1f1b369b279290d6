"""What several methods share: how the adapter is optimised, how candidates are drawn, where pictures are compared."""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.domain.catalogue import BaseModelEntry

LEARNING_RATE = 1e-4
"""Of a base model whose catalogue entry says nothing: what others report for LoRA (docs/recipes.md)."""


class Trained(BaseModel):
    """The optimiser's part of every method."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    takes_images: ClassVar[bool] = False
    """Whether the caller's own pictures (`images_file`) are of use to it."""
    guarded: ClassVar[bool] = False
    """Whether a validation watches it unless the request says otherwise: nothing in its loss knows a worse picture."""

    prompts_per_step: int = Field(default=8, ge=1, le=256, description="Prompts used in one optimiser step.")
    micro_batch: int | Literal["auto"] = Field(
        default="auto",
        description="Most pictures of one denoiser call (guidance makes two rows of one): memory and speed, and the "
        "result up to rounding. auto goes by the size of a picture, and on a GPU searches (but ddpo's) with up to four times as many. "
        "If memory runs out, send gradient_checkpointing: true or lower it; where a pair does not fit into it (1; with "
        "path-weights below candidates, with paper below 6) its loss costs one more forward.",
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1e-1,
        description="Peak learning rate (AdamW); null: the base model's own (`learning_rate` of GET /models), or less by methods that it is too "
        "high for (ddpo and walks .3 of it, paper .1).",
    )
    schedule: Literal["linear", "constant"] = Field(default="linear", description="linear falls to 0 at the last step.")
    warmup_steps: int = Field(default=0, ge=0, le=10_000, description="Steps of linear warm-up.")
    max_grad_norm: float = Field(default=1.0, gt=0, le=1e6, description="Gradients are clipped to this norm.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="AdamW's decoupled weight decay.")
    ema_decay: float = Field(
        default=0.95, ge=0, lt=1, description="Decay of the averaged adapter, which is delivered; 0: none."
    )

    @model_validator(mode="after")
    def _micro_batch_is_a_number_of_rows(self) -> Self:
        if self.micro_batch != "auto" and not 1 <= self.micro_batch <= 4096:
            raise ValueError('micro_batch must be "auto" or a number from 1 to 4096')
        return self

    @property
    def rate(self) -> float:
        """The peak learning rate of a method in a recipe, which is settled."""
        assert self.learning_rate is not None, "settled when the job is posted"
        return self.learning_rate

    def at(self, base: BaseModelEntry) -> Self:
        """With what goes with the base model where the request left it open."""
        if self.learning_rate is not None:
            return self
        return self.model_copy(update={"learning_rate": self.share_of_rate * (base.learning_rate or LEARNING_RATE)})

    @property
    def share_of_rate(self) -> float:
        """Of the base model's rate: what the method's tuning took on `shapes`, where that was far from what most took."""
        return 1.0


class Drawn(Trained):
    """Methods that draw candidates of each prompt by rollouts."""

    candidates: int = Field(default=8, ge=2, le=64, description="n: pictures drawn and judged for each prompt.")
    rollout_steps: int = Field(default=8, ge=2, le=100, description="Sampler steps of a rollout.")
    rollout_guidance: float = Field(
        default=1.0, ge=1.0, le=20.0, description="Guidance scale of the rollouts; 1 is without (half the cost)."
    )
    preview: Literal["vae", "taesd"] = Field(
        default="vae",
        description="What decodes the pictures that are judged: the VAE, or the small preview decoder that the base model's "
        "catalogue entry names.",
    )


class Noised(Drawn):
    """Methods that learn from drawn pictures at noise levels of their own."""

    least_noise: float = Field(
        default=0.75,
        ge=0.0,
        lt=1.0,
        description="Learn from this share of the noise schedule up to its end; layout is decided above 0.7.",
    )


class Paired(Noised):
    """Methods that compare a better with a worse picture of the same prompt."""

    timesteps_per_pair: int = Field(
        default=8, ge=1, le=32, description="Noise levels at which each best/worst pair is compared, shared within it."
    )
    loss_guidance: float = Field(
        default=1.0,
        ge=1.0,
        le=20.0,
        description="Guidance scale of the prediction that the loss compares; 1 is the conditional prediction alone.",
    )
    beta: float | Literal["auto"] = Field(
        default="auto",
        description="Strength of the preference, on squared errors relative to the reference's own at the same state; "
        '"auto" sets it in the first five updates to the reciprocal of the median gap between best and worst under the '
        "reference, and records it: a scale (the median of what the loss compares was .1 to .8 with it, on shapes), no optimum.",
    )

    @model_validator(mode="after")
    def _beta_is_positive(self) -> Self:
        if self.beta != "auto" and not 0 < self.beta <= 1e6:
            raise ValueError('beta must be "auto" or a number above 0 and at most 1e6')
        return self


Selection = Literal["argmax", "path-weights"]


def starts_of_walk(least_noise: float, steps: int, trajectory_length: int) -> int:
    """Of a walk's schedule, the first so many places: there the noise is above `least_noise`, and m steps are left."""
    return min(int((1 - least_noise) * steps), steps - trajectory_length + 1)


def check_walk(trajectory_length: int, walk_steps: int, least_noise: float) -> None:
    """A walk has a place to start from. Raises ValueError."""
    check_length(trajectory_length, walk_steps, "walk_steps")
    if starts_of_walk(least_noise, walk_steps, trajectory_length) < 1:
        raise ValueError(
            f"walk_steps ({walk_steps}) has no step whose noise is above least_noise ({least_noise:g}): raise the one or lower the other"
        )


def check_length(trajectory_length: int, steps: int, steps_field: str) -> None:
    """A walk has one state a step. Raises ValueError."""
    if trajectory_length > steps:
        raise ValueError(
            f"trajectory_length ({trajectory_length}) is above {steps_field} ({steps}): "
            "a walk has one state per step; lower the one or raise the other"
        )
