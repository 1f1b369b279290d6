"""The rewards that a recipe may name, as a tagged union: a wrong combination cannot be written.

A reward is a word here and a function in `worker/rewards/<type>.py`. Its schema is what `GET /rewards` publishes.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Reward(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClipReward(_Reward):
    """Cosine similarity of picture and prompt under a CLIP model of the operator's catalogue. Range −1 to 1."""

    type: Literal["clip"]
    model: str = Field(min_length=1, max_length=128, description="Name of a reward model in the catalogue.")


class SceneReward(_Reward):
    """The exact oracle of the small world `shapes`: the share of a scene's facts that the picture shows. Range 0 to 1.

    Prompts must be scenes ("a red circle left of a blue square"); others are refused when the job is posted.
    """

    type: Literal["scene"]
    exact: bool = Field(default=False, description="True: 1 for a picture that is right in everything, else 0.")


class JpegCompressibilityReward(_Reward):
    """Minus the kilobytes of the picture as JPEG (DDPO, arXiv 2305.13301 §5.1): smooth pictures score high."""

    type: Literal["jpeg-compressibility"]
    quality: int = Field(default=95, ge=1, le=100, description="JPEG quality.")


Reward = Annotated[ClipReward | SceneReward | JpegCompressibilityReward, Field(discriminator="type")]
REWARDS: tuple[type[_Reward], ...] = (ClipReward, SceneReward, JpegCompressibilityReward)
