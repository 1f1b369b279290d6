"""The comparison's goals, computed from outcomes: met, missed by how much, void, or waiting for what is not finished.

P2   fe at which the default first reaches, and holds for two looks, the best point of the tuned paper's estimator within the
     long budget: at most 1/4 of what that took. Void unless the estimator gains at least 5 points, interval above 0.
P3   fe that a rival needs for half of the default's main gain, against the default's: at least 3 x (DDPO), 2 x (Diffusion-DPO).
P4   at the base's NFE: trained on scene at least 85 % exact; trained on clip at least best-of-8 under the same clip.
P13  shuffled rewards gain nothing.
P14  the best sharpened setting beats the base's best by at least 15 points at equal NFE, at the main budget.
And whether trajectory selection beats online-dpo, which sees the last state alone.

Curves are exact shares of the first validation pictures, the mean over the finished seeds, at guidance 1 and at guidance 3
(`races.py`): a goal on curves counts at guidance 1, and guidance 3 is told beside it. Tables and gains are of test pictures.
Each sentence says on how many seeds it rests, and which of them failed.
"""

from __future__ import annotations

import numpy as np

from benchmarks.compare.gains import (
    RIVAL,
    absent,
    against,
    bits,
    by_prompt,
    gain,
    interval,
    judged,
    missing,
    points,
    texts_of,
)
from benchmarks.compare.methods import DEFAULT, SHUFFLED, TRAJECTORIES
from benchmarks.compare.races import p2, p3
from benchmarks.compare.results import Runs, runs_of
from benchmarks.compare.scale import Scale
from benchmarks.compare.statistics import at_least, over_seeds
from benchmarks.compare.store import read
from worker.shapes.splits import prompts


def goals(scale: Scale) -> list[str]:
    lines = [f"P2 {told}" for told in p2(scale)] + [f"P3 {told}" for told in p3(scale)]
    lines += [f"P4 {told}" for told in p4(scale)] + [f"P13 {p13(scale)}", f"P14 {p14(scale)}"]
    return [*lines, f"{TRAJECTORIES} − {RIVAL} {trajectories(scale)}"]


def p4(scale: Scale) -> list[str]:
    """At both budgets, where both are there: each is judged for itself."""
    return [
        f"{reward}, {'long' if long else 'main'} budget: {told}"
        for reward, judge in (("scene", _p4_scene), ("clip", _p4_clip))
        for long in (False, True)
        if (told := judge(scale, runs_of(scale, DEFAULT, reward, long))) is not None
    ]


def _p4_scene(scale: Scale, runs: Runs) -> str | None:
    if not runs.done:
        return absent(runs, "the default trained on scene") if runs.planned else None
    share = over_seeds(bits(runs.done, "best"), texts_of(runs.done))
    met = at_least(share.mean, 0.85)
    return f"{judged(met)}: exact {interval(share)}, {runs} (goal: .85){missing(0.85 - share.mean)}"


def _p4_clip(scale: Scale, runs: Runs) -> str | None:
    there = [read(scale.outcomes, f"pool-{where}") for where in ("plain", "best")]
    pools = list({str(pool["setting"]): pool for pool in there if pool is not None}.values())
    if not runs.planned:
        return None
    if not runs.done:
        return absent(runs, "the default trained on clip")
    if not pools:
        return "waiting for the pools of best-of-N"
    texts = prompts("test")[: scale.search_prompts]
    own = by_prompt(runs.done, texts)
    words, met = [], True
    for pool in pools:
        for n in ("8", "32"):
            if n in pool["best_of"]:
                apart = over_seeds(own - np.array(pool["best_of"][n]["by_prompt"]), texts)
                met = met and (n != "8" or at_least(apart.mean, 0))
                at = f"best-of-{n} at guidance {pool['setting'][0]:g}"
                words.append(f"{at} {pool['best_of'][n]['exact']:.3f}: {points(apart)}")
    shown = f"exact {own.mean():.3f} on the searches' prompts, {runs}"
    return f"{judged(met)}: {shown}; against {'; '.join(words)} (goal: at least best-of-8)"


def p13(scale: Scale) -> str:
    runs, base = runs_of(scale, SHUFFLED, "none", False), read(scale.outcomes, "base")
    if not runs.done or base is None:
        return absent(runs, "the rows with shuffled rewards")
    gains = [gain(runs.done, base, where) for where in ("plain", "best")]
    words = f"gain at guidance 1 {points(gains[0])}, at the best {points(gains[1])}"
    return f"{judged(all(at_least(0, one.low) for one in gains))}: {words}, {runs}"


def p14(scale: Scale) -> str:
    """At the main budget: the better of two budgets would be chosen on test pictures. The long one is told beside it."""
    base, runs = read(scale.outcomes, "base"), runs_of(scale, DEFAULT, "clip", False)
    if base is None or not runs.done:
        return absent(runs, "the default trained on clip")
    main = gain(runs.done, base, "best")
    met = at_least(main.mean, 0.15)
    words = f"main budget {points(main)}, {runs} (goal: +15 points){missing(0.15 - main.mean)}; {_guidances(runs, met)}"
    long = runs_of(scale, DEFAULT, "clip", True)
    beside = f"; beside it, long budget {points(gain(long.done, base, 'best'))}, {long}" if long.done else ""
    return f"{judged(met)}: {words}{beside}"


def _guidances(runs: Runs, met: bool) -> str:
    """What the recipes had (a method without a field has no such choice): the goal asks for guidance in rollouts or loss as a means to it."""
    recipes = [told["recipe"]["method"] for told in runs.done]
    rollouts, losses = (
        sorted({float(recipe[name]) for recipe in recipes if name in recipe})
        for name in ("rollout_guidance", "loss_guidance")
    )
    words = " and ".join(
        f"{name} at guidance {', '.join(f'{value:g}' for value in values)}"
        for name, values in (("rollouts", rollouts), ("losses", losses))
        if values
    )
    return f"{words}{': met without it' if met and {*rollouts, *losses} <= {1.0} else ''}"


def trajectories(scale: Scale) -> str:
    """Said in any case: the comparison owes it, whichever way it goes. Test pictures decide."""
    found = against(scale)
    own, other = (runs_of(scale, method, "clip", False) for method in (TRAJECTORIES, RIVAL))
    if not found:
        return absent(own, TRAJECTORIES) if not own.done else absent(other, RIVAL)
    tests = found[:2]
    ahead, behind = (
        [one.where for one in tests if one.difference.low > 0],
        all(one.difference.high < 0 for one in tests),
    )
    verdict = "is beaten by it" if behind else "does not beat it"
    if ahead:
        verdict = "beats it" if len(ahead) == len(tests) else f"beats it on {ahead[0]} alone"
    words = "; ".join(
        f"{one.where} {points(one.difference)}, seed by seed {' '.join(f'{100 * each:+.1f}' for each in one.seeds)}"
        for one in found
    )
    failed = "".join(
        f"; {name} {told}" for name, runs in ((TRAJECTORIES, own), (RIVAL, other)) for told in runs.failures
    )
    return f"{verdict}, paired over {len(found[0].seeds)} of {own.planned} seeds: {words}{failed}"
