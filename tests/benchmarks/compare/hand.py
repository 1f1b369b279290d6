"""Outcomes written by hand: one thing of a finished comparison can be turned at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.compare.judging import to_bits
from benchmarks.compare.scale import Scale
from benchmarks.compare.store import keep

PICTURES, TEST = 150, 988
SETTINGS = ("1x20", "3x10")


def right(share: float, count: int = PICTURES) -> str:
    """The first of the pictures are right: gains are paired."""
    return to_bits(np.arange(count) < round(share * count))


def spread(share: float, count: int = TEST) -> str:
    """Every so many pictures are right, whatever the prompt."""
    return to_bits((np.arange(count) * 0.618034) % 1 < share)


@dataclass(frozen=True)
class Hand:
    """hand.base(.3); hand.row("ddpo", curve=[(fe, exact), …], test=.5, seed=1); hand.failed("ddpo", long=True)."""

    scale: Scale

    def base(self, share: float) -> None:
        told = {"method": "base", "trained_on": "none", "best": "3x10", "test": self._test(share)}
        keep(self.scale.outcomes, "base", {**told, "validation": {name: right(share) for name in SETTINGS}})

    def row(
        self,
        method: str,
        test: float = 0.3,
        *,
        trained_on: str = "clip",
        long: bool = False,
        seed: int = 0,
        curve: Sequence[tuple[float, float]] = (),
        recipe: dict[str, Any] | None = None,
    ) -> None:
        looks = [
            {"fe": fe, "nfe": fe, "seconds": 1.0, "seen": {name: right(exact) for name in SETTINGS}}
            for fe, exact in curve
        ]
        told = {
            "method": method, "trained_on": trained_on, "long": long, "seed": seed, "best": "3x10", "test": self._test(test),
            "curve": looks, "validation": {name: right(test) for name in SETTINGS},
            "training_fe": 1000, "training_nfe": 900, "seconds": 1.0, "adapter_sha256": "0",
            "recipe": {"method": {"rollout_guidance": 1.0, **(recipe or {})}},
        }  # fmt: skip
        keep(self.scale.outcomes, self._name(method, trained_on, long, seed), told)

    def failed(self, method: str, *, trained_on: str = "clip", long: bool = False, seed: int = 0) -> None:
        told = {
            "method": method,
            "trained_on": trained_on,
            "long": long,
            "seed": seed,
            "failed": "nan_loss: at update 7",
        }
        keep(self.scale.outcomes, self._name(method, trained_on, long, seed), told)

    def ablation(self, method: str, name: str, rate: float, share: float | None) -> None:
        """share None: it failed."""
        named: dict[str, Any] = {"method": method, "ablation": name, "rate": rate, "score": share}
        told = {**named, "failed": "nan_loss: at update 7"}
        if share is not None:
            exact, seen = dict.fromkeys(SETTINGS, share), {at: right(share, 100) for at in SETTINGS}
            told = {**named, "exact": exact, "seen": seen, "training_fe": 1000}
        keep(self.scale.outcomes, f"ablation-{method}-{name}-{rate:g}", told)

    def _name(self, method: str, trained_on: str, long: bool, seed: int) -> str:
        return f"row-{method}-{trained_on}-{'long' if long else 'main'}-{seed}"

    def _test(self, share: float) -> dict[str, Any]:
        names = ("colour", "shape", "relation", "score_clip", "score_preference", "diversity")
        figures = {"pictures": TEST, "bits": spread(share), "nfe": 20, "exact": share, **dict.fromkeys(names, 0.5)}
        return {"1x20": {**figures, "setting": [1, 20]}, "3x10": {**figures, "setting": [3, 10]}}
