"""Diffusion-Sharpening (arXiv 2502.12146), both forms: a candidate is judged by its trajectory."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from service.domain.methods.common import Noised, Paired, Selection, check_length, check_walk

PAPER = {
    "candidates": 3, "trajectory_length": 3, "rollout_steps": 25, "walk_steps": 50, "states": "renoised",
    "selection": "argmax", "rollout_guidance": 1.0, "loss_guidance": 1.0, "timesteps_per_pair": 1, "least_noise": 0.0,
}  # fmt: skip
"""What `paper: true` means (arXiv 2502.12146, §4.1, Algorithm 2 and its code's 25-step rollouts)."""


_TRUTH = TypeAdapter(bool)


def _is_true(said: Any) -> bool:
    """As pydantic will read it: callers from Python may write 1 or "true". What is no truth at all the field refuses."""
    try:
        return _TRUTH.validate_python(said)
    except ValidationError:
        return False


class SharpeningRLHF(Paired):
    """Diffusion-Sharpening, RLHF form (arXiv 2502.12146, Algorithm 2): prompts only, best against worst trajectory."""

    type: Literal["sharpening-rlhf"]
    states: Literal["rollout", "renoised"] = Field(
        default="rollout",
        description="Which states a candidate is judged on: the last that its own rollout passed through (no extra calls), "
        "or m sampler steps from a re-noising of its picture (the paper).",
    )
    trajectory_length: int = Field(
        default=2,
        ge=1,
        le=50,
        description="m: how many states have their rewards summed; 1 with states rollout is the picture alone: that is online-dpo.",
    )
    walk_steps: int = Field(
        default=50, ge=2, le=1000, description="Sampler schedule of the walk from a re-noising (states: renoised)."
    )
    selection: Selection = Field(
        default="argmax",
        description="Best and worst alone, or all candidates with weights that grow exponentially with their score.",
    )
    path_temperature: float = Field(
        default=0.5,
        gt=0,
        le=100,
        description="λ of path-weights, in standard deviations of the scores of a prompt; towards 0 it is argmax.",
    )
    paper: bool = Field(
        default=False,
        description="The paper's own estimator: 3 candidates, m = 3 steps of a 50-step walk from one re-noising each with "
        "noise of its own, the target ε at every step, the mean over steps inside one log σ, 25-step rollouts; "
        "beta is then on plain squared errors.",
    )

    @model_validator(mode="before")
    @classmethod
    def _paper_fixes_the_search(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not _is_true(data.get("paper", False)):
            return data
        for name, value in PAPER.items():
            if data.get(name, value) != value:
                raise ValueError(f"paper: true means {name} {value}: leave {name} out, or paper")
        return {**PAPER, **data}

    @model_validator(mode="after")
    def _states_fit_the_walk(self) -> Self:
        if self.states == "rollout":
            check_length(self.trajectory_length, self.rollout_steps, "rollout_steps")
        else:
            check_walk(self.trajectory_length, self.walk_steps, self.least_noise)
        return self

    @property
    def share_of_rate(self) -> float:
        return 0.1 if self.paper else 1.0


class SharpeningSFT(Noised):
    """Diffusion-Sharpening, SFT form (arXiv 2502.12146, Algorithm 1): the best trajectory of a prompt alone.

    A prompt's group is its pictures (`images_file`), filled up to `candidates` by pictures of the frozen base.
    """

    takes_images: ClassVar[bool] = True
    guarded: ClassVar[bool] = True
    type: Literal["sharpening-sft"]
    selection_among: Literal["images", "noisings"] = Field(
        default="images",
        description="Candidates are different pictures of the prompt, or (the paper) different noisings of one: "
        "that rule favours pictures that normally score low.",
    )
    states: Literal["rollout", "renoised"] | None = Field(
        default=None,
        description="Which states a candidate is judged on: the last that its own rollout passed through, or m sampler steps from a "
        "re-noising of it (the paper), at every update anew. null: renoised where images_file brings pictures, which had no rollout; else rollout.",
    )
    trajectory_length: int = Field(default=3, ge=1, le=50, description="m: how many states have their rewards summed.")
    walk_steps: int = Field(
        default=50, ge=2, le=1000, description="Sampler schedule of the walk from a re-noising (states: renoised)."
    )
    timesteps_per_sample: int = Field(
        default=8, ge=1, le=32, description="Noise levels at which the best is learned (states: rollout)."
    )
    selection: Selection = Field(default="argmax", description="The best alone, or all with exponential weights.")
    path_temperature: float = Field(default=0.5, gt=0, le=100, description="λ of path-weights; see sharpening-rlhf.")
    anchor: float = Field(
        default=0.01, ge=0, le=1e4, description="Weight of the squared distance to the base model's own prediction."
    )

    @model_validator(mode="after")
    def _states_fit(self) -> Self:
        if self.states == "rollout" and self.selection_among == "noisings":
            raise ValueError("noisings are compared on walks from them: leave states out, or selection_among")
        if self.states == "rollout":
            check_length(self.trajectory_length, self.rollout_steps, "rollout_steps")
        else:
            check_walk(self.trajectory_length, self.walk_steps, self.least_noise)
        return self

    def settled(self, *, brings_pictures: bool) -> Self:
        """With the states that a request means: pictures of its own had no rollout, and noisings are walked from."""
        walks = brings_pictures or self.selection_among == "noisings"
        return self if self.states else self.model_copy(update={"states": "renoised" if walks else "rollout"})

    @property
    def walks(self) -> bool:
        """Whether candidates are judged on a walk from a re-noising. A recipe that says nothing of states was stored before there
        was a choice: those walk."""
        return self.states != "rollout"

    @property
    def share_of_rate(self) -> float:
        return 0.3 if self.walks else 1.0
