"""The comparison's goals, computed from outcomes: met, missed by how much, void, or waiting for what is not finished.

P2   fe at which the default first reaches, and holds for two looks, the best point of the tuned paper's estimator within the
     long budget: at most 1/4 of what that took. Void unless the estimator gains at least 5 points, interval above 0.
P3   fe that a rival needs for half of the default's main gain, against the default's: at least 3 x (DDPO), 2 x (Diffusion-DPO).
P4   at the base's NFE: trained on scene at least 85 % exact; trained on clip at least best-of-8 under the same clip.
P13  shuffled rewards gain nothing.
P14  the best sharpened setting beats the base's best by at least 15 points at equal NFE.

Curves are exact shares of the first validation pictures, the mean over the finished seeds, at guidance 1 and at guidance 3:
a goal on curves counts at guidance 1, and guidance 3 is told beside it. Tables and gains are of test pictures.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.compare.judging import from_bits
from benchmarks.compare.methods import DEFAULT, SHUFFLED
from benchmarks.compare.results import at_best, at_plain, runs_of
from benchmarks.compare.rows import LOOKED_AT
from benchmarks.compare.scale import Scale
from benchmarks.compare.statistics import over_seeds
from benchmarks.compare.store import read
from benchmarks.compare.world import Setting, pictures_of
from worker.evaluation.interval import Interval
from worker.shapes.splits import prompts

PAPER = "sharpening-rlhf-paper"
WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Point:
    """A look at the runs of a row: mean fe over the seeds, exact bits [seeds, pictures], and the base's on the same pictures."""

    fe: float
    exact: np.ndarray
    base: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.exact.mean())

    @property
    def gain(self) -> Interval:
        texts, _ = pictures_of("validation", self.exact.shape[1])
        return over_seeds(self.exact.astype(float) - self.base, texts)


def curve(scale: Scale, method: str, long: bool, setting: Setting, trained_on: str = "clip") -> list[Point]:
    """Looks in the order of fe; [] while no seed is finished."""
    told, base = runs_of(scale, method, trained_on, long), read(scale.outcomes, "base")
    if not told or base is None:
        return []
    n, looks = scale.curve_pictures, min(len(one["curve"]) for one in told)
    before = from_bits(base["validation"][str(setting)])[:n]
    return [
        Point(
            float(np.mean([one["curve"][place]["fe"] for one in told])),
            np.stack([from_bits(one["curve"][place]["seen"][str(setting)])[:n] for one in told]),
            before,
        )
        for place in range(looks)
    ]


def reached(points: Sequence[Point], target: float) -> float | None:
    """fe of the first look at or above the target that the next look confirms."""
    for one, after in itertools.pairwise(points):
        if one.mean >= target and after.mean >= target:
            return one.fe
    return None


def earliest(scale: Scale, method: str, setting: Setting, target: float) -> float | None:
    """Of the runs to the main and to the long budget: each has a schedule of its own, and the better one counts."""
    found = [reached(curve(scale, method, long, setting), target) for long in (False, True)]
    return min((fe for fe in found if fe is not None), default=None)


def goals(scale: Scale) -> list[str]:
    lines = [f"P2 {told}" for told in p2(scale)] + [f"P3 {told}" for told in p3(scale)]
    return lines + [f"P4 {told}" for told in p4(scale)] + [f"P13 {p13(scale)}", f"P14 {p14(scale)}"]


def p2(scale: Scale) -> list[str]:
    return [f"at guidance {setting.guidance:g}: {_p2(scale, setting)}" for setting in LOOKED_AT]


def _p2(scale: Scale, setting: Setting) -> str:
    paper = [*curve(scale, PAPER, True, setting), *curve(scale, PAPER, False, setting)]
    if not paper or not curve(scale, DEFAULT, False, setting):
        return f"{WAITING} for {PAPER} to the long budget and the default"
    best = max(paper, key=lambda point: point.mean)
    gain, words = (
        best.gain,
        f"the paper's estimator: best {best.mean:.3f} at {best.fe:,.0f} fe, gain {points(best.gain)}",
    )
    if gain.mean < 0.05 or gain.low <= 0:
        return f"void: {words} is not 5 points with an interval above 0"
    fe = earliest(scale, DEFAULT, setting, best.mean)
    if fe is None:
        return f"missed: {words}; the default does not hold that"
    return f"{judged(fe / best.fe <= 0.25)}: {words}; the default holds that from {fe:,.0f} fe on, {fe / best.fe:.2f} of it (goal: at most .25)"


def p3(scale: Scale) -> list[str]:
    return [
        f"{rival} at guidance {setting.guidance:g}: {_p3(scale, rival, least, setting)}"
        for rival, least in (("ddpo", 3.0), ("diffusion-dpo", 2.0))
        for setting in LOOKED_AT
    ]


def _p3(scale: Scale, rival: str, least: float, setting: Setting) -> str:
    default, other = curve(scale, DEFAULT, False, setting), curve(scale, rival, True, setting)
    if not default or not other:
        return f"{WAITING} for the default and {rival} to the long budget"
    gain = default[-1].gain
    if gain.low <= 0:
        return f"void: the default gains {points(gain)} at its end"
    target = float(default[0].base.mean()) + gain.mean / 2
    own, fe = earliest(scale, DEFAULT, setting, target), earliest(scale, rival, setting, target)
    words = f"half of the default's gain ({points(gain)}) is {target:.3f}"
    if own is None:
        return f"missed: {words}, and no look of the default is confirmed there by the next"
    if fe is None:
        bound = max(point.fe for point in other) / own
        return f"{judged(bound >= least)}: {words}; default {own:,.0f} fe, {rival} never within {other[-1].fe:,.0f} fe: above {bound:.1f} x"
    return f"{judged(fe / own >= least)}: {words}; default {own:,.0f} fe, {rival} {fe:,.0f} fe: {fe / own:.1f} x (goal: {least:g} x)"


def p4(scale: Scale) -> list[str]:
    """At both budgets, where both are there: each is judged for itself."""
    return [
        f"{reward}, {'long' if long else 'main'} budget: {told}"
        for reward, judge in (("scene", _p4_scene), ("clip", _p4_clip))
        for long in (False, True)
        if (told := judge(scale, long)) is not None
    ]


def _p4_scene(scale: Scale, long: bool) -> str | None:
    told = runs_of(scale, DEFAULT, "scene", long)
    if not told:
        return None if long else f"{WAITING} for the default trained on scene"
    share = over_seeds(bits(told, "best"), _texts(told))
    return f"{judged(share.mean >= 0.85)}: exact {interval(share)} (goal: .85){missing(0.85 - share.mean)}"


def _p4_clip(scale: Scale, long: bool) -> str | None:
    told, pools = (
        runs_of(scale, DEFAULT, "clip", long),
        [read(scale.outcomes, f"pool-{where}") for where in ("plain", "best")],
    )
    pools = list({str(pool["setting"]): pool for pool in pools if pool is not None}.values())
    if not told or not pools:
        return None if long else f"{WAITING} for the default trained on clip and the pools of best-of-N"
    texts = prompts("test")[: scale.search_prompts]
    own = by_prompt(told, texts)
    words, met = [], True
    for pool in pools:
        for n in ("8", "32"):
            if n in pool["best_of"]:
                apart = over_seeds(own - np.array(pool["best_of"][n]["by_prompt"]), texts)
                met = met and (n != "8" or apart.mean >= 0)
                words.append(
                    f"best-of-{n} at guidance {pool['setting'][0]:g} {pool['best_of'][n]['exact']:.3f}: {points(apart)}"
                )
    return f"{judged(met)}: exact {own.mean():.3f} on the searches' prompts, against {'; '.join(words)} (goal: at least best-of-8)"


def p13(scale: Scale) -> str:
    told, base = runs_of(scale, SHUFFLED, "none", False), read(scale.outcomes, "base")
    if not told or base is None:
        return f"{WAITING} for the rows with shuffled rewards"
    gains = [gain(told, base, where) for where in ("plain", "best")]
    return f"{judged(all(one.low <= 0 for one in gains))}: gain at guidance 1 {points(gains[0])}, at the best {points(gains[1])}"


def p14(scale: Scale) -> str:
    base = read(scale.outcomes, "base")
    told = {long: runs_of(scale, DEFAULT, "clip", long) for long in (False, True)}
    if base is None or not any(told.values()):
        return f"{WAITING} for the default trained on clip"
    gains = {long: gain(some, base, "best") for long, some in told.items() if some}
    best = max(gains.values(), key=lambda one: one.mean)
    words = ", ".join(f"{'long' if long else 'main'} budget {points(one)}" for long, one in gains.items())
    return f"{judged(best.mean >= 0.15)}: {words} (goal: +15 points){missing(0.15 - best.mean)}"


def gain(told: list[dict[str, Any]], base: dict[str, Any], where: str) -> Interval:
    """Of runs over the base, paired, each at guidance 1 ("plain") or each at its own best."""
    return over_seeds(bits(told, where) - bits([base], where), _texts(told))


def bits(told: list[dict[str, Any]], where: str) -> np.ndarray:
    """Exact of the test pictures: float [seeds, pictures]."""
    figures = at_plain if where == "plain" else at_best
    return np.stack([from_bits(figures(one)["bits"]) for one in told]).astype(float)


def by_prompt(told: list[dict[str, Any]], texts: list[str]) -> np.ndarray:
    """Exact at the runs' best, the mean over the pictures of each of these prompts: [seeds, prompts]."""
    drawn, exact = np.array(_texts(told)), bits(told, "best")
    return np.stack([exact[:, drawn == text].mean(axis=1) for text in texts], axis=1)


def _texts(told: list[dict[str, Any]]) -> list[str]:
    return pictures_of("test", at_plain(told[0])["pictures"])[0]


def judged(met: bool) -> str:
    return "met" if met else "missed"


def missing(short: float) -> str:
    return f", {100 * short:.1f} points short" if short > 0 else ""


def points(one: Interval) -> str:
    return f"{100 * one.mean:+.1f} points ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def interval(one: Interval) -> str:
    return f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})"
