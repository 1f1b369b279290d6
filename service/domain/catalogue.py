"""The operator's list of base and reward models. Callers name entries; a path or URL from a caller is never opened."""

import tomllib
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.domain.errors import StropError

Family = Literal["sd", "sdxl", "sd3", "flux"]
"""How a base model is driven: Stable Diffusion 1.x and 2.x, SDXL, SD3 and 3.5, FLUX.1."""
CONVOLUTIONAL: frozenset[Family] = frozenset({"sd", "sdxl"})
"""Families with convolutions to adapt: a U-Net. The others are transformers."""
DIFFUSIONS: frozenset[Family] = frozenset({"sd", "sdxl"})
"""Families walked by DDIM, whose noise has a bound. The others are flows."""


class CatalogueError(StropError):
    """The catalogue file does not fit its documented shape."""

    code = "catalogue_invalid"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")
    source: str = Field(
        min_length=1, description="A folder (relative to the catalogue file), `hub:owner/name` or `s3://bucket/prefix`."
    )
    revision: str = Field(default="", description="Pinned commit of a hub source; SHA-256 of the weights for a folder.")
    licence: str = Field(default="", description="Licence of the weights, as its owner names it.")
    description: str = ""

    def public(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"source", "preview_decoder"})


class BaseModelEntry(_Entry):
    kind: Literal["base"] = "base"
    family: Family
    resolution: int = Field(default=512, ge=16, le=4096, description="Side of a picture in pixels.")
    num_inference_steps: int = Field(default=50, ge=1, le=1000, description="Default steps of the inference endpoint.")
    guidance_scale: float = Field(
        default=5.0, ge=1.0, le=50.0, description="Default guidance of the inference endpoint."
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=0.1,
        description="Peak learning rate of jobs that name none, by most methods; left out: 1e-4.",
    )
    memory_gib: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        description="GiB of device memory that training it by the defaults takes in bf16: what a job needs that names no needs.memory_gib. "
        "Left out: any worker will do.",
    )
    preview_decoder: str = Field(
        default="",
        description="Folder of diffusers' AutoencoderTiny made for this model (TAESD and its kin), for methods that preview by it; "
        "a folder only, on every worker.",
    )


class RewardModelEntry(_Entry):
    kind: Literal["reward"] = "reward"
    type: Literal["clip"]


class Catalogue(BaseModel):
    """All entries. `bases` and `rewards` are keyed by name in the TOML file: `[bases.shapes]`, `[rewards.shapes-clip]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bases: dict[str, BaseModelEntry] = Field(default_factory=dict)
    rewards: dict[str, RewardModelEntry] = Field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, *, root: PurePosixPath) -> "Catalogue":
        """Read TOML; folders become absolute below `root`. Raises CatalogueError with the place and the remedy."""
        try:
            tables = tomllib.loads(text)
            for group in ("bases", "rewards"):
                for name, entry in tables.get(group, {}).items():
                    entry["name"] = name
                    _is_a_folder(f"{group}.{name}.preview_decoder", str(entry.get("preview_decoder", "")))
                    for place in ("source", "preview_decoder"):
                        where = str(entry.get(place, ""))
                        if where and not where.startswith(("hub:", "s3://", "/")):
                            entry[place] = str(root / where)
            return cls.model_validate(tables)
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise CatalogueError(f"the catalogue cannot be read: {error}") from error


def _is_a_folder(place: str, said: str) -> None:
    """Nothing fetches a preview decoder. Not asked of the entry: one that a job was stored with must stay readable."""
    if said.startswith("hub:") or "://" in said:
        raise CatalogueError(
            f"the catalogue cannot be read: {place} is {said!r}, and a preview decoder is not fetched: download it "
            "(hf download OWNER/NAME --local-dir FOLDER) and name the folder"
        )
