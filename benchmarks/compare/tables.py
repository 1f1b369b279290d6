"""The tables of docs/comparison.md as cells: a heading first, then a line a row. `page.py` sets them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.compare.gains import RIVAL, Told, against, bits, gain, interval, points
from benchmarks.compare.judging import from_bits
from benchmarks.compare.methods import ORDER, TRAINED, TRAJECTORIES, tuned_as
from benchmarks.compare.results import ablations, at_best, at_plain, planned, runs_of, search_rows, tuning
from benchmarks.compare.rows import LOOKED_AT
from benchmarks.compare.scale import Scale
from benchmarks.compare.statistics import at_least, over_seeds
from benchmarks.compare.store import read
from benchmarks.compare.world import pictures_of
from worker.evaluation.interval import paired_gain

Cells = list[str]
ALIKE = {"m=1": "the picture alone: the same computation as online-dpo and as scoring the final picture"}
"""What an ablation is under another name."""


def trained(scale: Scale, where: str) -> Iterator[Cells]:
    """The base and every trained row, the mean of its seeds; a run that failed is told among the seeds."""
    yield ["method", "trained on", "fe", "core s", "guidance", "NFE", "exact (95 %)", "gain, points (95 %)", "seeds", "colour",
           "shape", "relation", "CLIP", "preference", "diversity"]  # fmt: skip
    base = read(scale.outcomes, "base")
    assert base is not None
    yield _row([base], base, where, [])
    for method, trained_on, long in groups(scale):
        runs = runs_of(scale, method, trained_on, long)
        if runs.done:
            yield _row(runs.done, base, where, runs.failures)
        else:
            budget = scale.long if long else scale.main
            yield [method, trained_on, f"to {budget:,}", *[""] * 5, "; ".join(runs.failures), *[""] * 6]


def groups(scale: Scale) -> list[tuple[str, str, bool]]:
    """(method, trained on, long) of the rows of which a run ended, well or not, in the order of the table."""
    found = {(row.method, row.trained_on, row.long) for row in planned(scale)}
    ended = [one for one in found if (runs := runs_of(scale, *one)).done or runs.failed]
    return sorted(ended, key=lambda one: (ORDER.index(one[0]), one[1], one[2]))


def _row(told: Told, base: dict[str, Any], where: str, failures: list[str]) -> Cells:
    figures = [at_plain(one) if where == "plain" else at_best(one) for one in told]
    texts, _ = pictures_of("test", figures[0]["pictures"])
    share, is_base = over_seeds(bits(told, where), texts), told[0] is base
    guidances = sorted({f"{one['setting'][0]:g}" for one in figures})
    seeds = "; ".join([" ".join(f"{one['exact']:.3f}" for one in figures), *failures])
    return [
        told[0]["method"], told[0]["trained_on"], "" if is_base else f"{_mean(told, 'training_fe'):,.0f}",
        "" if is_base else f"{_mean(told, 'seconds'):,.0f}", ", ".join(guidances), str(figures[0]["nfe"]), interval(share),
        "" if is_base else points(gain(told, base, where)), seeds,
        *(_cell(_mean(figures, name)) for name in ("colour", "shape", "relation", "score_clip", "score_preference", "diversity")),
    ]  # fmt: skip


def trajectories(scale: Scale) -> Iterator[Cells]:
    """Whether the states before the last one help: selection by them against online-dpo, on the same pictures."""
    yield ["pictures", TRAJECTORIES, RIVAL, "difference (95 %)", "seed by seed"]
    for one in against(scale):
        own, other = one.shares
        seeds = " ".join(f"{100 * each:+.1f}" for each in one.seeds)
        yield [one.where, f"{own:.3f}", f"{other:.3f}", points(one.difference), seeds]


def _mean(told: Told, name: str) -> float:
    return float(np.mean([one[name] for one in told if one[name] is not None] or [np.nan]))


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def searches(scale: Scale) -> Iterator[Cells]:
    yield ["method", "under", "guidance", "NFE", "exact (95 %)", "CLIP", "preference", "diversity"]
    for row in search_rows(scale):
        low, high = row["exact_ci95"]
        apart = "" if row["diversity"] is None else f"{row['diversity']:.3f}"
        yield [
            row["method"], row["trained_on"], f"{row['guidance']:g}", f"{row['inference_nfe']:,}",
            f"{row['exact']:.3f} ({low:.3f} to {high:.3f})", f"{row['score_clip']:.3f}", f"{row['score_preference']:.3f}", apart,
        ]  # fmt: skip


def break_even(scale: Scale) -> Iterator[Cells]:
    """Against the smallest best-of-N (of 2, 4, 8, …, at either guidance) that is as often right as the row at its best.

    Never, where the row's gain over the base is not above 0 with its interval: then there is nothing that was paid for.
    """
    yield ["method", "trained on", "fe", "exact", "search that does as well", "its NFE", "training is cheaper after",
           "with its tuning"]  # fmt: skip
    pools = [pool for where in ("plain", "best") if (pool := read(scale.outcomes, f"pool-{where}"))]
    base = read(scale.outcomes, "base")
    assert base is not None
    for method, trained_on, long in groups(scale) if pools else []:
        told = runs_of(scale, method, trained_on, long).done
        if not told:
            continue
        exact, nfe, fe = float(bits(told, "best").mean()), at_best(told[0])["nfe"], _mean(told, "training_fe")
        equal = [
            (figures["nfe"], f"best-of-{n} at guidance {pool['setting'][0]:g}")
            for pool in pools
            for n, figures in pool["best_of"].items()
            if at_least(figures["exact"], exact) and int(n) > 1
        ]
        start = [method, trained_on, f"{fe:,.0f}", f"{exact:.3f}"]
        if gain(told, base, "best").low <= 0:
            yield [*start, "the base itself", str(nfe), "never", "never"]
        elif not equal:
            yield [*start, "none of the pool", "", "the first picture", "the first picture"]
        else:
            cost, name = min(equal)
            whole = fe + tuning_fe(scale, method)
            yield [*start, name, str(cost), *(f"{spent / (cost - nfe):,.0f} pictures" for spent in (fe, whole))]


def tuning_fe(scale: Scale, method: str) -> float:
    """What finding a method's values took: its whole grid, losers included."""
    return sum(one["training_fe"] or 0 for one in tuning(scale) if one["method"] == tuned_as(method))


def ablation_rows(scale: Scale, method: str) -> Iterator[Cells]:
    """Each change of a method at the better of its learning rates (`runs`: of how many), against no change at the better of its own."""
    yield ["changed", "rate", "runs", "fe", "exact at 1", "exact at 3", "gain at 1", "gain at 3"]
    found: dict[str, list[dict[str, Any]]] = {}
    for one in ablations(scale):
        if one["method"] == method:
            found.setdefault(one["ablation"], []).append(one)
    best = {name: better(some) for name, some in found.items()}
    default = best.get("default")
    for name, some in found.items():
        label, shown = name + (f" ({ALIKE[name]})" if name in ALIKE else ""), best[name]
        failed = [f"{one['rate']:g} failed ({one['failed'].split(':')[0]})" for one in some if one["failed"]]
        tried = "; ".join([str(len(some)), *failed])
        if shown is None:
            yield [label, "", tried, *[""] * 5]
            continue
        gains = [_paired(scale, default, shown, str(at)) if default and name != "default" else "" for at in LOOKED_AT]
        shares = [f"{shown['exact'][str(setting)]:.3f}" for setting in LOOKED_AT]
        yield [label, f"{shown['rate']:g}", tried, f"{shown['training_fe']:,}", *shares, *gains]


def better(some: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """By score; the first of equals; None where all failed."""
    ended = [one for one in some if one["score"] is not None]
    return max(ended, key=lambda one: float(one["score"]), default=None)


def _paired(scale: Scale, default: dict[str, Any], one: dict[str, Any], setting: str) -> str:
    before, after = (from_bits(some["seen"][setting]) for some in (default, one))
    texts, _ = pictures_of("validation", len(after), skip=scale.ablation_skip)
    found = paired_gain(before.tolist(), after.tolist(), texts)
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def tuning_rows(scale: Scale) -> Iterator[Cells]:
    """The chosen values of each method, and the spread of the losers; the whole grid is tuning.json."""
    yield ["method", "learning rate", "knob", "score", "runs", "worst", "failed"]
    grid = tuning(scale)
    for name, method in TRAINED.items():
        told = [one for one in grid if one["method"] == name]
        chosen = next((one for one in told if one["chosen"]), None)
        scores = [one["score"] for one in told if one["score"] is not None]
        if chosen and scores:
            yield [name, f"{chosen['learning_rate']:g}", f"{method.knob} {chosen[method.knob]}", f"{chosen['score']:.3f}", str(len(told)),
                   f"{min(scores):.3f}", str(len(told) - len(scores))]  # fmt: skip
        elif chosen:
            yield [name, "", "", "", str(len(told)), "", str(len(told))]
