"""What a caller posts (`JobRequest`) and what a job stores and a child reads (`Recipe`: the same with every name resolved)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.domain.catalogue import BaseModelEntry, RewardModelEntry
from service.domain.methods import ForwardProcess, Method, SharpeningSFT
from service.domain.rewards import Reward

MAX_PROMPT_LENGTH = 2_000
MAX_PROMPTS = 100_000
MAX_METADATA_PAIRS = 16
NAME = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
LABEL = r"^[A-Za-z0-9][A-Za-z0-9._=/-]{0,62}$"
CERTIFICATE_PRIORITY = -5
"""Of certificates, unless their poster says otherwise: they wait behind training."""

SHOWN_PROMPTS = 32
"""Of each list of prompts, where a job is read, listed or watched: a whole list may have megabytes."""

RECIPE_FORMAT = 4
"""Of stored recipes. One more with every field or choice that is added: a worker of the version before could not read it,
and passes such a job over (`offers.py`), so that a fleet may be brought up to date one process after the other."""

PromptText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT_LENGTH)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Target = Literal["attention", "feed-forward", "conv"]


class Lora(BaseModel):
    """The adapter's layout. alpha = rank always, so that a reload without alpha is exact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1, le=256, description="Rank of each update.")
    targets: tuple[Target, ...] = Field(
        default=("attention", "feed-forward", "conv"),
        min_length=1,
        max_length=3,
        description="Groups of layers, which each family maps to its own.",
    )


class Samples(BaseModel):
    """Pictures drawn while the job trains, at fixed prompts and seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(default=20, ge=0, le=100_000, description="Draw after each so many steps; 0: never.")
    prompts: tuple[PromptText, ...] = Field(
        default=(), max_length=16, description="Prompts to draw; empty: the first four of the job."
    )
    guidance: float | None = Field(
        default=None, ge=1.0, le=50.0, description="Guidance scale of the samples; null: the base model's default."
    )
    num_inference_steps: int | None = Field(
        default=None, ge=1, le=1000, description="Sampler steps of the samples; null: the base model's default."
    )


class Validation(BaseModel):
    """Scoring while the job trains: one picture of each prompt at fixed seeds, by the job's own reward."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(default=10, ge=0, le=100_000, description="Steps between two validations; 0: none is made.")
    prompts: tuple[PromptText, ...] = Field(
        default=(),
        max_length=512,
        description="Prompts to validate on, best none of the job's; empty: its first sixteen.",
    )
    guidance: float | None = Field(
        default=None, ge=1.0, le=50.0, description="Guidance scale of the pictures; null: the base model's default."
    )
    num_inference_steps: int | None = Field(
        default=None, ge=1, le=1000, description="Sampler steps of the pictures; null: the base model's default."
    )
    keep_best: bool = Field(default=True, description="Deliver the adapter of the best validation, not the last.")
    patience: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="End after so many validations in a row without a new best; null: never. Left out: never, or 3 where "
        "the method is sharpening-sft or sft.",
    )


GUARD = Validation(patience=3)
"""Of the methods with `guarded`, unless the request says otherwise: a job whose reward drops ends within 30 steps of its best."""


def served(shown: Samples | Validation, base: BaseModelEntry) -> tuple[float, int]:
    """(guidance, sampler steps): what was chosen, else what the base model is served with, so that pictures drawn while a
    job trains are those that its adapter will draw."""
    guidance = base.guidance_scale if shown.guidance is None else shown.guidance
    return guidance, shown.num_inference_steps or base.num_inference_steps


class Needs(BaseModel):
    """What the job needs of a worker beside the base model's family and the reward: a worker that lacks it passes it over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_gib: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        description="Memory of the device in GiB, at least; null: what the base model's catalogue entry says, else whatever there is.",
    )
    labels: tuple[Annotated[str, StringConstraints(pattern=LABEL)], ...] = Field(
        default=(), max_length=16, description="Labels that the worker must carry, as its operator gave them."
    )


class JobRequest(BaseModel):
    """The body of `POST /jobs`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: str = Field(min_length=1, max_length=128, description="Name of a base model in the catalogue.")
    prompts: tuple[PromptText, ...] | None = Field(
        default=None, min_length=1, max_length=MAX_PROMPTS, description="The training prompts."
    )
    prompts_file: str | None = Field(
        default=None,
        pattern=r"^file_[0-9a-z]{26}$",
        description="Id of an uploaded text or JSONL file, instead of `prompts`.",
    )
    images_file: str | None = Field(
        default=None,
        pattern=r"^file_[0-9a-z]{26}$",
        description="Id of an uploaded archive of pictures with captions, for methods that learn from pictures "
        "(sharpening-sft). Without prompts its captions are the prompts; prompts without pictures get the base model's.",
    )
    start_adapter: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Adapter to begin with, name or name@version, of the same base model and LoRA layout; null: a new one. "
        "The reference stays the base model.",
    )
    reward: Reward = Field(description="What is searched for.")
    method: Method = Field(
        default_factory=lambda: ForwardProcess(type="forward-process"),
        description="How it is trained on; left out: forward-process.",
    )
    lora: Lora = Field(default_factory=Lora, description="The adapter's layout.")
    steps: int = Field(default=60, ge=1, le=100_000, description="Optimiser steps.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of every source of chance.")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Precision of the base model; auto: bf16 on a GPU that has it, else fp32."
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Compute activations anew in the backward pass: less memory, about a third more time, same gradient. "
        "Always so for sdxl, sd3 and flux, where one picture's activations take many GiB.",
    )
    samples: Samples = Field(default_factory=Samples, description="Pictures drawn while the job trains.")
    validation: Validation | None = Field(
        default=None,
        description="Choose the adapter by a validation, and stop when it no longer rises; null, or every 0: the last is "
        "delivered. Left out, sharpening-sft and sft have one: the job's first sixteen prompts, every 10 steps, patience 3.",
    )
    checkpoint_every: int = Field(default=10, ge=1, le=100_000, description="Steps between checkpoints.")
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        le=31_536_000,
        description="Budget: seconds of training over all attempts, waiting not counted; then the job ends with its adapter.",
    )
    max_nfe: int | None = Field(
        default=None,
        ge=1,
        lt=2**53,
        description="Budget: denoiser forwards of training; the job ends with its adapter after the step that reaches it.",
    )
    needs: Needs = Field(default_factory=Needs, description="What the job needs of a worker.")
    adapter_name: str | None = Field(
        default=None, pattern=NAME, description="Name of the adapter; default: the job's id. Versions count up."
    )
    priority: int = Field(default=0, ge=-10, le=10, description="Higher is claimed first.")
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default_factory=dict, max_length=MAX_METADATA_PAIRS, description="Yours; returned as it is."
    )

    @model_validator(mode="after")
    def _pictures_are_of_use(self) -> "JobRequest":
        if self.images_file is not None and not self.method.takes_images:
            raise ValueError(
                f"images_file is of no use to {self.method.type}: leave it out, or choose the method sharpening-sft"
            )
        if self.images_file is not None and isinstance(self.method, SharpeningSFT) and self.method.states == "rollout":
            raise ValueError("the pictures of images_file had no rollout to be judged on: leave method.states out")
        return self

    @model_validator(mode="after")
    def _one_source_of_prompts(self) -> "JobRequest":
        if self.prompts is not None and self.prompts_file is not None:
            raise ValueError("both prompts and prompts_file are given: give either prompts or prompts_file")
        if self.prompts is None and self.prompts_file is None and self.images_file is None:
            also = ", or images_file, whose captions are the prompts then" if self.method.takes_images else ""
            raise ValueError(f"no prompts are given: give either prompts or prompts_file{also}")
        return self


class CertificateRequest(BaseModel):
    """The body of `POST /jobs/{id}/certificate`; may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    from_step: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="Step of the stored checkpoint to replay from; null: the last but one.",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Steps to replay, up to a stored checkpoint; null: up to the next one that is stored.",
    )
    priority: int = Field(
        default=CERTIFICATE_PRIORITY,
        ge=-10,
        le=10,
        description="Of the certificate; by default it waits behind training.",
    )


class Replay(BaseModel):
    """What a certificate's worker does: from a stored checkpoint of the parent, run on to `to_step`, and digest the state.

    The checkpoint is the parent's artifact of that step and fence; `expected_sha256` is the digest of the parent's
    checkpoint at `to_step`. Nothing is kept but the digest that was found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint_step: int = Field(ge=0)
    checkpoint_fence: int = Field(ge=1)
    to_step: int = Field(ge=1)
    expected_sha256: str


class Recipe(JobRequest):
    """A request with every name resolved: what the job was posted with, whatever the catalogue says later.

    `start_adapter` is an exact version, name@version; digests are of the files that are named. `parent_id`: the job that
    this one was cloned from, or that it certifies. `replay`: only in a certificate, whose other fields are its parent's.
    """

    base: BaseModelEntry
    reward_model: RewardModelEntry | None = None
    prompts_sha256: str
    prompt_count: int
    images_sha256: str | None = None
    image_count: int = 0
    start_adapter_sha256: str | None = None
    parent_id: str | None = None
    replay: Replay | None = None

    @property
    def kind(self) -> Literal["sharpening", "certificate"]:
        return "certificate" if self.replay else "sharpening"

    def validation_prompts(self) -> int:
        """How many there are of its own, shown or not."""
        return len(self.validation.prompts) if self.validation else 0

    def brief(self) -> "BriefRecipe | None":
        """The same for whoever only shows it, its lists of prompts cut to the first SHOWN_PROMPTS; None where none is longer."""
        asked = self.validation_prompts()
        if max(len(self.prompts or ()), asked) <= SHOWN_PROMPTS:
            return None
        cut: dict[str, Any] = {"validation_prompt_count": asked}
        if self.prompts is not None:
            cut["prompts"] = self.prompts[:SHOWN_PROMPTS]
        if self.validation is not None:
            cut["validation"] = self.validation.model_copy(update={"prompts": self.validation.prompts[:SHOWN_PROMPTS]})
        return BriefRecipe.model_construct(**{**dict(self), **cut})

    def public(self) -> dict[str, Any]:
        """The recipe as callers see it: of prompts (they may be many) the first and their count, no source paths."""
        shown = self.brief() or self
        said: dict[str, Any] = shown.model_dump(mode="json", exclude={"base", "reward_model", "parent_id", "replay"})
        said["base"] = self.base.public()
        said["reward_model"] = self.reward_model.public() if self.reward_model else None
        said["validation_prompt_count"] = self.validation_prompts()
        return said


class BriefRecipe(Recipe):
    """What is read to show a job: nothing may be trained or cloned by it, and a child refuses it for its added field."""

    validation_prompt_count: int

    def validation_prompts(self) -> int:
        return self.validation_prompt_count
