"""The rows of the comparison: which recipe each trained method is, and the one knob that its tuning grid has beside the rate.

Every method gets the same learning rates, as many values of its knob, the same LoRA layout and average. What is not named
here is the recipe's default. The paper's estimator has its beta on plain squared errors: its own 2500, auto (about 75 here,
where errors are small), and a value between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TrainedOn = Literal["clip", "scene", "preference", "none"]


@dataclass(frozen=True, slots=True)
class Method:
    """`type`: the recipe's method; None for the two controls, which learn from renders (`renders.py`)."""

    name: str
    type: str | None
    knob: str
    values: tuple[Any, ...]
    """The first is the one that a run without tuning takes."""
    fixed: Mapping[str, Any] = field(default_factory=dict)


BETAS = ("auto", 1.0, 20.0)
"""auto is about 4 here."""
TRAINED = {
    method.name: method
    for method in (
        Method("sharpening-rlhf", "sharpening-rlhf", "beta", BETAS),
        Method("sharpening-rlhf-paper", "sharpening-rlhf", "beta", ("auto", 500.0, 2500.0), {"paper": True}),
        Method("ddpo", "ddpo", "clip_range", (1e-3, 1e-4, 1e-2)),
        Method("diffusion-dpo", "diffusion-dpo", "beta", BETAS),
        Method("online-dpo", "online-dpo", "beta", BETAS),
        Method("forward-process", "forward-process", "old_decay", (0.5, 0.9, 0.97)),
        Method("sharpening-sft", "sharpening-sft", "anchor", (0.1, 0.01, 1.0), {"states": "rollout"}),
        Method("sft", "sft", "anchor", (0.1, 0.01, 1.0)),
        Method("more-pretraining", None, "pictures_per_step", (32, 16, 64), {"renders": "web"}),
        Method("sft-on-renders", None, "pictures_per_step", (32, 16, 64), {"renders": "train"}),
    )
}
SEARCHES = ("best-of-8", "best-of-32", "best-of-128", "zero-order", "path-search")
LONG = ("forward-process", "sharpening-rlhf-paper", "ddpo", "diffusion-dpo")
"""Those that go on to the long budget."""
DEFAULT, TRAJECTORIES = "forward-process", "sharpening-rlhf"
"""The service's default, and the method that judges trajectories: what selection by them is worth is asked of this one."""
SHUFFLED = "shuffled-reward"
ORDER = (
    "base", *SEARCHES, "sft", "diffusion-dpo", "ddpo", "online-dpo", "sharpening-sft", "sharpening-rlhf-paper",
    "sharpening-rlhf", "forward-process", SHUFFLED, "more-pretraining", "sft-on-renders",
)  # fmt: skip
"""Of the rows in tables: the names are part of results.json's format."""


def tuned_as(name: str) -> str:
    """Whose tuning a row takes: the control with shuffled rewards is the default method in everything else."""
    return DEFAULT if name == SHUFFLED else name


TRAJECTORY_ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "n=2": {"candidates": 2},
    "n=3": {"candidates": 3},
    "n=5": {"candidates": 5},
    "m=1": {"trajectory_length": 1},  # the picture alone: the same computation as online-dpo
    "m=3": {"trajectory_length": 3},
    "m=5": {"trajectory_length": 5},
    "states=renoised": {"states": "renoised"},
    "selection=path-weights": {"selection": "path-weights"},
    "rollout_guidance=2": {"rollout_guidance": 2.0},
    "loss_guidance=2": {"loss_guidance": 2.0},
    "beta=100": {"beta": 100.0},
    "rollout_steps=5": {"rollout_steps": 5},
    "timesteps_per_pair=4": {"timesteps_per_pair": 4},
    "schedule=constant": {"schedule": "constant"},
    "ema_decay=0": {"ema_decay": 0.0},
    "prompts_per_step=4": {"prompts_per_step": 4},
    "prompts_per_step=16": {"prompts_per_step": 16},
    "n=5,m=1": {"candidates": 5, "trajectory_length": 1},
    "n=5,m=5": {"candidates": 5, "trajectory_length": 5},
}
"""What each changes in the tuned sharpening-rlhf (n = 8, m = 2, states of the rollout, argmax, rollouts without guidance).

The tuning grid has three more values of beta, at every learning rate."""
DEFAULT_ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "n=4": {"candidates": 4},
    "n=16": {"candidates": 16},
    "old_decay=0": {"old_decay": 0.0},
    "mix=0.5": {"mix": 0.5},
    "mix=2": {"mix": 2.0},
    "timesteps_per_sample=8": {"timesteps_per_sample": 8},
    "rollout_guidance=2": {"rollout_guidance": 2.0},
}
"""What each changes in the tuned forward-process (n = 8, the finished picture judged, old policy's decay .5)."""
ABLATIONS = {
    (method, name): change
    for method, changes in ((TRAJECTORIES, TRAJECTORY_ABLATIONS), (DEFAULT, DEFAULT_ABLATIONS))
    for name, change in changes.items()
}
WEAKER = ((TRAJECTORIES, "states=renoised"),)
"""Tried at the next lower rate too: the paper's states, whose pairs are so much weaker that they may want it."""
