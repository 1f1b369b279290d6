"""One training run of the comparison: method, reward, budget, seed and tuned values, as the recipe that any job would have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from benchmarks.compare.methods import Method
from benchmarks.compare.world import BASE
from service.domain.recipes import Recipe
from worker.shapes.splits import prompts

RANK, TARGETS = 16, ("attention", "feed-forward", "conv")
EVERY = 100_000
"""Checkpoints are made when the driver asks."""


@dataclass(frozen=True, slots=True)
class Run:
    """`reward`: clip, scene, preference or shuffled. `hyper`: the values that differ from the method's own."""

    name: str
    method: Method
    reward: str
    budget: int
    seed: int
    hyper: Mapping[str, Any] = field(default_factory=dict)
    prompt_count: int | None = None
    """Only the first so many train prompts: for measuring the pace."""

    @property
    def texts(self) -> list[str]:
        return prompts("train")[: self.prompt_count]

    def trial(self, round_updates: int) -> Run:
        """The same on so few prompts that a round of them has this many updates."""
        return replace(self, prompt_count=round_updates * self._prompts_per_step)

    @property
    def round_updates(self) -> float:
        return len(self.texts) / self._prompts_per_step

    @property
    def _prompts_per_step(self) -> int:
        return 1 if self.method.type is None else self.recipe(1).method.prompts_per_step

    def recipe(self, steps: int) -> Recipe:
        """Raises ValueError with a sentence where the service has no such method or field."""
        hyper = {"type": self.method.type, **self.method.fixed, **self.hyper}
        try:
            recipe = Recipe.model_validate(
                {
                    "base_model": "shapes",
                    "base": {"name": "shapes", "family": "sd", "source": str(BASE), "resolution": 64},
                    "prompts": self.texts,
                    "prompts_sha256": "",
                    "prompt_count": len(self.texts),
                    "reward": {"type": "clip", "model": "shapes-clip"},  # a name: the loop is handed the function
                    "method": hyper,
                    "lora": {"rank": RANK, "targets": TARGETS},
                    "steps": steps,
                    "seed": self.seed,
                    "dtype": "fp32",
                    "samples": {"every": 0},
                    "checkpoint_every": EVERY,
                }
            )
        except ValidationError as error:
            raise ValueError(f"{self.name}: this checkout's recipes refuse {hyper}: {error}") from error
        return recipe.model_copy(update={"method": recipe.method.at(recipe.base)})

    def controls(self, steps: int) -> dict[str, Any]:
        """What `renders.train` reads."""
        rows = self.method.values[0]
        return {
            "rank": RANK, "targets": TARGETS, "steps": steps, "seed": self.seed, "pictures_per_step": rows,
            "learning_rate": 6e-4, **self.method.fixed, **self.hyper,
        }  # fmt: skip

    def told(self, steps: int) -> dict[str, Any]:
        """The recipe as an outcome keeps it: everything but the prompts, which are the train split."""
        if self.method.type is None:
            return {**self.controls(steps), "targets": list(TARGETS)}
        shown = self.recipe(steps).model_dump(mode="json", include={"method", "lora", "steps", "seed", "dtype"})
        return {**shown, "reward": self.reward}
