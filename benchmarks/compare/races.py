"""The goals on curves: who comes to a share of right pictures for how many forward-equivalents (P2, P3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.compare.curves import Curve, best_look, curve, curves, earliest, range_of
from benchmarks.compare.gains import absent, gone, judged, points
from benchmarks.compare.methods import DEFAULT
from benchmarks.compare.results import Runs, runs_of
from benchmarks.compare.rows import LOOKED_AT
from benchmarks.compare.scale import Scale
from benchmarks.compare.statistics import at_least
from benchmarks.compare.world import Setting

PAPER = "sharpening-rlhf-paper"
RIVALS = {"ddpo": 3.0, "diffusion-dpo": 2.0}
"""How many times the default's fe each is to need."""


def p2(scale: Scale) -> list[str]:
    return [f"at guidance {setting.guidance:g}: {_p2(scale, setting)}" for setting in LOOKED_AT]


def _p2(scale: Scale, setting: Setting) -> str:
    own, long = runs_of(scale, DEFAULT, "clip", False), runs_of(scale, PAPER, "clip", True)
    default, paper = curves(scale, DEFAULT, setting), curves(scale, PAPER, setting)
    if lack := lacking(own, long, paper, PAPER):
        return lack
    found, place = best_look(paper)
    best, cost, above = float(found.shares()[place]), float(found.fe[place]), found.gain(place)
    words = f"the paper's estimator ({long}): best {best:.3f} at {cost:,.0f} fe, gain {points(above)}"
    if not at_least(above.mean, 0.05) or above.low <= 0:
        return f"void: {words} is not 5 points with an interval above 0"
    fe = earliest(default, best, end=False)
    if fe is None:
        most, place = best_look(default)
        return f"missed: {words}; the default ({own}) does not hold that: at most {most.shares()[place]:.3f}, at {most.fe[place]:,.0f} fe"

    def ratio(weights: np.ndarray) -> float:
        found, place = best_look(paper, weights)
        best = float(found.shares(weights)[place])
        fe = earliest(default, best, weights, end=False)
        return math.inf if fe is None or best <= found.start(weights) else fe / float(found.fe[place])

    told = f"{fe / cost:.2f} of it ({range_of(ratio, paper)}; goal: at most .25)"
    return f"{judged(at_least(0.25, fe / cost))}: {words}; the default ({own}) holds that from {fe:,.0f} fe on, {told}"


def lacking(own: Runs, long: Runs, rival: Sequence[Curve], name: str) -> str | None:
    """A sentence where there is no verdict yet: a rival's main run alone decides nothing, its best may still come.

    Where all its long runs failed nothing more will come, and what its main runs did is all there is.
    """
    if not own.done:
        return absent(own, "the default")
    if not rival or not (long.done or gone(long)):
        return absent(long, f"{name} to the long budget")
    return None


@dataclass(frozen=True, slots=True)
class Race:
    """To half of the default's gain at its end: the curve that this is measured on, and all curves of both sides."""

    end: Curve
    default: list[Curve]
    rival: list[Curve]

    def target(self, weights: np.ndarray | None = None) -> float:
        """A share."""
        return float(self.end.start(weights) + self.end.shares(weights)[-1]) / 2

    def costs(self, weights: np.ndarray | None = None) -> tuple[float | None, float | None]:
        """fe of the default and of the rival; None: never."""
        target = self.target(weights)
        return earliest(self.default, target, weights, end=False), earliest(self.rival, target, weights, end=True)

    def ratio(self, weights: np.ndarray) -> float:
        """inf: the rival never gets there. 0: no gain among these prompts, so no advantage either."""
        own, other = self.costs(weights)
        if not own or self.target(weights) <= self.end.start(weights):
            return 0.0
        return math.inf if other is None else other / own


def p3(scale: Scale) -> list[str]:
    return [
        f"{rival} at guidance {setting.guidance:g}: {_p3(scale, rival, least, setting)}"
        for rival, least in RIVALS.items()
        for setting in LOOKED_AT
    ]


def _p3(scale: Scale, rival: str, least: float, setting: Setting) -> str:
    own, long = runs_of(scale, DEFAULT, "clip", False), runs_of(scale, rival, "clip", True)
    end, others = curve(scale, DEFAULT, False, setting), curves(scale, rival, setting)
    if (lack := lacking(own, long, others, rival)) or end is None:
        return lack or absent(own, "the default")
    race, above = Race(end, curves(scale, DEFAULT, setting), others), end.gain(-1)
    if above.low <= 0:
        return f"void: the default ({own}) gains {points(above)} at its end"
    words, (mine, theirs) = f"half of the default's gain ({points(above)}) is {race.target():.3f}", race.costs()
    if mine is None:
        return f"missed: {words}, and no look of the default ({own}) is confirmed there by the next"
    words = f"{words}; default ({own}) {mine:,.0f} fe, {rival} ({long})"
    goal = f"({range_of(race.ratio, others)}; goal: {least:g} x)"
    if theirs is not None:
        return f"{judged(at_least(theirs / mine, least))}: {words} {theirs:,.0f} fe: {theirs / mine:.1f} x {goal}"
    within = max(float(one.fe[-1]) for one in others)
    met = at_least(within / mine, least)
    verdict = (
        judged(met) if met or long.done else "failed"
    )  # a run that broke off: its bound is no measure of the rival
    return f"{verdict}: {words} never within {within:,.0f} fe: above {within / mine:.1f} x {goal}"
