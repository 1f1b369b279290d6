"""What travels: OpenAI's images API, and beside it seed, num_inference_steps, guidance_scale, negative_prompt."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.domain.adapters import MAX_REFERENCE
from service.domain.recipes import MAX_PROMPT_LENGTH


class ImageRequest(BaseModel):
    """The body of `POST /v1/images/generations`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        min_length=1,
        max_length=MAX_REFERENCE,
        description="A base model, an adapter (its newest version), adapter@version or adapter@alias.",
    )
    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_LENGTH, description="What to draw.")
    negative_prompt: str = Field(
        default="", max_length=MAX_PROMPT_LENGTH, description="What to draw away from; needs guidance above 1."
    )
    n: int = Field(default=1, ge=1, le=10, description="How many pictures; picture i is drawn from seed + i.")
    size: str | None = Field(
        default=None,
        pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$",
        description="WIDTHxHEIGHT, the base model's own.",
    )
    response_format: Literal["b64_json"] = Field(default="b64_json", description="How pictures come.")
    output_format: Literal["png"] = Field(default="png", description="The pictures' format.")
    user: str | None = Field(default=None, max_length=512, description="Yours; not used.")
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**62,
        description="Same request, same seed, same bits; default: drawn by chance and told.",
    )
    num_inference_steps: int | None = Field(
        default=None, ge=1, le=1000, description="Sampler steps; default: the base model's."
    )
    guidance_scale: float | None = Field(
        default=None, ge=1, le=50, description="Guidance; 1 is without; default: the base model's."
    )


class Image(BaseModel):
    """One picture and the seed that draws it again (with n = 1)."""

    b64_json: str
    seed: int


class Usage(BaseModel):
    """What the pictures cost, counted at the model itself."""

    images: int
    nfe: int = Field(description="Denoiser forwards of the whole request (guidance doubles them).")
    nfe_per_image: float
    steps: str = Field(
        description="Size and steps of each run of denoiser calls: 8x20,2x20. The same, and the bits are the same."
    )


class ImageAnswer(BaseModel):
    """OpenAI's answer, with `model` as it was resolved."""

    created: int
    data: list[Image]
    model: str = Field(description="The base model, or adapter@version.")
    size: str
    output_format: Literal["png"] = "png"
    usage: Usage
    warnings: list[str] = Field(description="What the text encoder will not see of the prompt.")


class Model(BaseModel):
    """A name that `model` may be."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]
