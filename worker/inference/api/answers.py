"""What is answered over HTTP: OpenAI's shapes with Strop's members beside them.

OpenAI counts tokens; a diffusion model has none to sell, so those members are there, as its client's types want them, and
are 0. What pictures cost here is `nfe`, counted at the model.
"""

from typing import Literal

from pydantic import BaseModel, Field

from service.wire.moments import Moment
from service.wire.shapes import Error
from worker.inference.api.shapes import Format

Safety = Literal["off", "passed", "withheld"]


class Image(BaseModel):
    """One picture: in `b64_json` or behind `url`, neither where the safety checker withheld it."""

    b64_json: str | None = None
    url: str | None = Field(default=None, description="Works without the key until the answer's `expires_at`.")
    seed: int = Field(description="Draws it again, with n = 1.")
    steps: str = Field(
        description="The padded size of each of its denoiser calls, run-length: 8x12,4x8. The same sizes, the same bits."
    )
    withheld: str | None = Field(default=None, description="Why the safety checker kept it back.")


class InputTokens(BaseModel):
    text_tokens: int = 0
    image_tokens: int = 0


class Usage(BaseModel):
    """What the pictures cost, counted at the model itself; tokens are always 0."""

    images: int
    nfe: int = Field(description="Denoiser forwards of the whole request (guidance doubles them), without padding.")
    nfe_per_image: float
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: InputTokens = InputTokens()


class ImageAnswer(BaseModel):
    """OpenAI's answer, with `model` as it was resolved."""

    created: int
    data: list[Image]
    model: str = Field(description="The base model, or adapter@version.")
    adapters: list[str] = Field(description="All that was worn: adapter@version, and its weight where it is not 1.")
    size: str
    output_format: Format
    background: Literal["opaque"] = "opaque"
    safety: Safety = Field(description="off: nothing looked at the pictures; passed: all; withheld: not all.")
    usage: Usage
    warnings: list[str] = Field(description="What the model will not see of the prompts.")
    expires_at: Moment | None = Field(default=None, description="Until when links in `data` work.")


class _Event(BaseModel):
    b64_json: str
    background: Literal["opaque"] = "opaque"
    created_at: int
    output_format: Format
    quality: Literal["auto"] = "auto"
    safety: Safety = Field(
        description="off: nothing looked at it; passed: it, or all of the pictures; withheld: not all."
    )
    size: str
    image_index: int = Field(description="Which of the n pictures, from 0.")
    seed: int
    model: str


class PartialImage(_Event):
    """A preview."""

    type: Literal["image_generation.partial_image"] = "image_generation.partial_image"
    partial_image_index: int


class CompletedImage(_Event):
    """A picture; `usage` is that of the whole request."""

    type: Literal["image_generation.completed"] = "image_generation.completed"
    usage: Usage
    steps: str
    adapters: list[str]
    withheld: str | None
    warnings: list[str]


class DrawingProgress(BaseModel):
    step: int = Field(description="Denoiser steps done, of all pictures together.")
    steps: int


class Drawing(BaseModel):
    """An asynchronous request for pictures."""

    id: str
    object: Literal["image.request"] = "image.request"
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled"]
    model: str
    created_at: Moment
    updated_at: Moment = Field(description="When the process that draws it last said so.")
    expires_at: Moment | None = Field(default=None, description="Until when the answer is kept; once it has ended.")
    progress: DrawingProgress
    result: ImageAnswer | None = None
    error: Error | None = None


class Model(BaseModel):
    """A name that `model` may be."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]
