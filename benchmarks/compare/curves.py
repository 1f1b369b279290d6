"""When a run reached a share of right pictures: curves of validation pictures, crossings, and ratios of what they cost.

A run is looked at a few times only, so a crossing is read off the straight line between the last look below and the first at or
above that holds: else every ratio would be one of two looks' fe. Before its first look a run is the base, at 0 fe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.compare.judging import from_bits
from benchmarks.compare.results import runs_of
from benchmarks.compare.scale import Scale
from benchmarks.compare.statistics import at_least, resampled
from benchmarks.compare.store import read
from benchmarks.compare.world import Setting, pictures_of
from worker.evaluation.interval import Interval, bootstrap


@dataclass(frozen=True, slots=True)
class Curve:
    """Looks [L] at the runs of a row on the same validation pictures [P], each the mean over the finished seeds.

    fe [L] ascending; exact [L, P]; base [P], the base's on the same pictures.
    """

    fe: np.ndarray
    exact: np.ndarray
    base: np.ndarray

    def shares(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Exact at each look [L]; weights [P] of the pictures, sum 1; None: all alike."""
        shares: np.ndarray = self.exact @ (even(self) if weights is None else weights)
        return shares

    def start(self, weights: np.ndarray | None = None) -> float:
        """The base's share."""
        return float(self.base @ (even(self) if weights is None else weights))

    def gain(self, place: int) -> Interval:
        """At one look, over the base."""
        return bootstrap((self.exact[place] - self.base).tolist(), self.texts)

    @property
    def texts(self) -> list[str]:
        return pictures_of("validation", len(self.base))[0]


def even(curve: Curve) -> np.ndarray:
    return np.full(len(curve.base), 1 / len(curve.base))


def curve(scale: Scale, method: str, long: bool, setting: Setting, trained_on: str = "clip") -> Curve | None:
    """None while no seed is finished."""
    told, base = runs_of(scale, method, trained_on, long).done, read(scale.outcomes, "base")
    if not told or base is None:
        return None
    n, looks = scale.curve_pictures, range(min(len(one["curve"]) for one in told))
    exact = [[from_bits(one["curve"][look]["seen"][str(setting)])[:n] for one in told] for look in looks]
    return Curve(
        np.array([np.mean([one["curve"][look]["fe"] for one in told]) for look in looks]),
        np.array(exact, dtype=float).mean(axis=1),
        from_bits(base["validation"][str(setting)])[:n].astype(float),
    )


def curves(scale: Scale, method: str, setting: Setting) -> list[Curve]:
    """Of the runs to the main and to the long budget, as far as they are there: each has a schedule of its own."""
    found = [curve(scale, method, long, setting) for long in (False, True)]
    return [one for one in found if one is not None]


def crossing(fe: Sequence[float], shares: Sequence[float], start: float, target: float, *, end: bool) -> float | None:
    """fe at which a curve comes to the target and holds it: at or above at one look and at the next. None: never.

    A run's very last look has no next one. With `end` it counts alone, without it never does: a rival has the benefit of
    the doubt, the default has not.
    """
    held = [at_least(share, target) for share in shares]
    for place, (now, after) in enumerate(zip(held, [*held[1:], end], strict=True)):
        if now and after:
            before, low = (fe[place - 1], shares[place - 1]) if place else (0.0, start)
            rise = shares[place] - low
            way = min(1.0, max(0.0, (target - low) / rise)) if rise > 0 else 0.0
            return float(before + way * (fe[place] - before))
    return None


def earliest(some: Sequence[Curve], target: float, weights: np.ndarray | None = None, *, end: bool) -> float | None:
    """The first crossing of several curves."""
    found = [
        crossing(one.fe.tolist(), one.shares(weights).tolist(), one.start(weights), target, end=end) for one in some
    ]
    return min((fe for fe in found if fe is not None), default=None)


def best_look(some: Sequence[Curve], weights: np.ndarray | None = None) -> tuple[Curve, int]:
    """(curve, place) of the highest share; of equal ones the cheapest: the others add nothing."""
    looks = [
        (round(float(share), 9), -fe, number, place)
        for number, one in enumerate(some)
        for place, (share, fe) in enumerate(zip(one.shares(weights), one.fe.tolist(), strict=True))
    ]
    _, _, number, place = max(looks)
    return some[number], place


def range_of(ratio: Callable[[np.ndarray], float], some: Sequence[Curve]) -> str:
    """95 % interval of a ratio of costs in words: prompts are drawn again, the targets with them."""
    low, high = resampled(ratio, some[0].texts)
    if math.isinf(low):
        return "95 %: never"
    return f"95 %: {low:.2f} to {'never' if math.isinf(high) else f'{high:.2f}'}"
