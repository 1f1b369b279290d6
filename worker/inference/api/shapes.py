"""What is asked over HTTP: OpenAI's request for pictures, and beside it Strop's own fields.

Fields of OpenAI's that say nothing about a diffusion model are taken where they ask for what is done anyway, and refused
with a sentence where they ask for more (NOT_OURS). A null is the same as leaving the field out, as OpenAI's clients mean it.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from service.domain.adapters import MAX_REFERENCE
from service.domain.recipes import MAX_PROMPT_LENGTH
from worker.inference.engine.requests import SchedulerName

Format = Literal["png", "jpeg", "webp"]

MAX_BODY = 128 * 2**10
"""Bytes. The longest request that is taken has 72 KiB, with every character escaped."""
NOT_OURS = {
    "quality": (("auto", "standard"), "leave it out; num_inference_steps says how much is computed"),
    "style": ((), "leave it out, and say the style in the prompt or with an adapter"),
    "background": (("auto", "opaque"), "leave it out; pictures are opaque (true asks for an asynchronous answer)"),
    "moderation": (("auto", "low"), "leave it out; whether pictures are checked is the operator's choice"),
}
"""Field → the values that change nothing, and what to do instead of the others."""


class AdapterChoice(BaseModel):
    """An adapter worn by a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1, max_length=MAX_REFERENCE, description="An adapter, adapter@version or adapter@alias."
    )
    weight: float = Field(default=1.0, ge=-4, le=4, description="How strongly; 1 is as it was trained.")


class ImageRequest(BaseModel):
    """The body of `POST /v1/images/generations`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        min_length=1,
        max_length=MAX_REFERENCE,
        description="A base model, an adapter (its newest version), adapter@version or adapter@alias.",
    )
    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_LENGTH, description="What to draw.")
    n: int = Field(default=1, ge=1, le=10, description="How many pictures; picture i is drawn from seed + i.")
    size: str | None = Field(
        default=None,
        pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$",
        description="WIDTHxHEIGHT, the base model's own, or auto.",
    )
    response_format: Literal["b64_json", "url"] = Field(
        default="b64_json", description="Pictures in the answer, or links to them that expire."
    )
    output_format: Format = Field(default="png", description="The pictures' format.")
    output_compression: int | None = Field(
        default=None, ge=0, le=100, description="Quality of jpeg and webp in percent (default 100); not for png."
    )
    stream: bool = Field(default=False, description="Answer with server-sent events, as pictures come about.")
    partial_images: int = Field(
        default=0, ge=0, le=3, description="Previews of each picture on its way; needs stream: true."
    )
    background: bool | str | None = Field(
        default=None, description="true: answer 202 at once, with a request to ask for later. auto, opaque: as it is."
    )
    user: str | None = Field(default=None, max_length=512, description="Yours; not used.")
    safety_identifier: str | None = Field(default=None, max_length=512, description="Yours; not used.")
    quality: str | None = Field(default=None, description="auto or standard; neither changes anything.")
    style: str | None = Field(default=None, description="Not here: say it in the prompt.")
    moderation: str | None = Field(default=None, description="auto or low; neither changes anything.")

    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**62,
        description="Same request, same seed, same sizes of steps: same bits. Default: drawn by chance and told.",
    )
    num_inference_steps: int | None = Field(
        default=None, ge=1, le=1000, description="Sampler steps; default: the base model's."
    )
    guidance_scale: float | None = Field(
        default=None, ge=1, le=50, description="Guidance; 1 is without; default: the base model's."
    )
    negative_prompt: str = Field(
        default="", max_length=MAX_PROMPT_LENGTH, description="What to draw away from; needs guidance above 1."
    )
    scheduler: SchedulerName | None = Field(
        default=None, description="Sampler; default: the base model's family's own."
    )
    batch_size: Literal[1, 2, 4, 8] | None = Field(
        default=None, description="Pins the size of every denoiser call, and with it the bits. Default: as it comes."
    )
    adapters: list[AdapterChoice] = Field(
        default_factory=list, max_length=8, description="Worn together, beside the one that `model` may name."
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None or name not in cls.model_fields}

    @field_validator(*NOT_OURS)
    @classmethod
    def _changes_nothing(cls, value: bool | str, info: ValidationInfo) -> bool | str:
        harmless, remedy = NOT_OURS[str(info.field_name)]
        if isinstance(value, str) and value not in harmless:
            raise ValueError(f"{value[:40]!r} is not possible here: {remedy}")
        return value

    @model_validator(mode="after")
    def _fit_each_other(self) -> "ImageRequest":
        if self.output_compression is not None and self.output_format == "png":
            raise ValueError("output_compression says nothing about png: leave it out, or ask for jpeg or webp")
        if self.partial_images and not self.stream:
            raise ValueError("partial_images needs a stream: send stream true, or leave partial_images out")
        if self.stream and self.is_background:
            raise ValueError("background and stream exclude each other: send one of the two")
        if self.stream and self.response_format == "url":
            raise ValueError("response_format is b64_json in a stream: leave it out, or send stream false")
        return self

    @property
    def is_background(self) -> bool:
        """Asked for in the body; the header `Prefer: respond-async` asks for the same."""
        return self.background is True
