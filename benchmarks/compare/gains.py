"""What rows gain, paired picture by picture, and how a goal's sentence says it. Shares and gains are of exactly right pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.compare.judging import from_bits
from benchmarks.compare.methods import TRAJECTORIES
from benchmarks.compare.results import Runs, at_best, at_plain, runs_of
from benchmarks.compare.rows import LOOKED_AT
from benchmarks.compare.scale import Scale
from benchmarks.compare.statistics import at_least, over_seeds
from benchmarks.compare.world import pictures_of
from worker.evaluation.interval import Interval

Told = Sequence[dict[str, Any]]
"""Outcomes of a row, a seed each."""
RIVAL = "online-dpo"


def gain(told: Told, base: dict[str, Any], where: str) -> Interval:
    """Of runs over the base, each at guidance 1 (`where` "plain") or each at its own best ("best"), on test pictures."""
    return over_seeds(bits(told, where) - bits([base], where), texts_of(told))


def bits(told: Told, where: str) -> np.ndarray:
    """Exact of the test pictures: float [seeds, pictures]."""
    figures = at_plain if where == "plain" else at_best
    return np.stack([from_bits(figures(one)["bits"]) for one in told]).astype(float)


def by_prompt(told: Told, texts: Sequence[str]) -> np.ndarray:
    """Exact at the runs' best, the mean over the pictures of each of these prompts: [seeds, prompts]."""
    drawn, exact = np.array(texts_of(told)), bits(told, "best")
    return np.stack([exact[:, drawn == text].mean(axis=1) for text in texts], axis=1)


def texts_of(told: Told) -> list[str]:
    """The prompt of each test picture."""
    return pictures_of("test", at_plain(told[0])["pictures"])[0]


@dataclass(frozen=True, slots=True)
class Apart:
    """One row less another where both were judged on the same pictures; `seeds`: the difference of each pair of runs."""

    where: str
    shares: tuple[float, float]
    difference: Interval
    seeds: tuple[float, ...]


def against(scale: Scale, rival: str = RIVAL) -> list[Apart]:
    """Selection by trajectories less a rival, main budget, trained on clip, over the seeds that both have; [] while there is none.

    First the test pictures, at guidance 1 and each at its own best; then the runs' last look, at guidance 1 and 3.
    """
    own, other = (runs_of(scale, method, "clip", False).done for method in (TRAJECTORIES, rival))
    common = sorted({told["seed"] for told in own} & {told["seed"] for told in other})
    pairs = [[told for told in some if told["seed"] in common] for some in (own, other)]
    if not common:
        return []
    tests = [("test", "guidance 1", "plain"), ("test", "each at its own best", "best")]
    found = [_apart(f"{split}, {words}", [bits(some, at) for some in pairs], "test") for split, words, at in tests]
    for setting in LOOKED_AT:
        seen = [np.stack([from_bits(told["validation"][str(setting)]) for told in some]) for some in pairs]
        found.append(_apart(f"validation, guidance {setting.guidance:g}", seen, "validation"))
    return found


def _apart(where: str, sides: list[np.ndarray], split: Any) -> Apart:
    own, other = (side.astype(float) for side in sides)
    texts, _ = pictures_of(split, own.shape[1])
    each = tuple(float(value) for value in (own - other).mean(axis=1))
    return Apart(where, (float(own.mean()), float(other.mean())), over_seeds(own - other, texts), each)


def absent(runs: Runs, words: str) -> str:
    """Of a row without a finished run: nothing will come any more, or it is waited for."""
    return f"{'failed' if gone(runs) else 'waiting for'} {words} ({runs})"


def gone(runs: Runs) -> bool:
    """All its runs failed."""
    return 0 < runs.planned == len(runs.failed)


def judged(met: bool) -> str:
    return "met" if met else "missed"


def missing(short: float) -> str:
    return f", {100 * short:.1f} points short" if not at_least(0, short) else ""


def points(one: Interval) -> str:
    return f"{100 * one.mean:+.1f} points ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def interval(one: Interval) -> str:
    return f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})"
