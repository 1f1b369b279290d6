"""docs/comparison.md between its marks, out of outcomes: goals, tables, break-even, tuning, ablations, and where they were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.compare import plots
from benchmarks.compare.goals import bits, gain, goals, interval, points
from benchmarks.compare.judging import from_bits
from benchmarks.compare.methods import ORDER, TRAINED
from benchmarks.compare.results import ablations, at_best, at_plain, outcomes, rows, runs_of, tuning
from benchmarks.compare.rows import LOOKED_AT
from benchmarks.compare.scale import Scale
from benchmarks.compare.statistics import over_seeds
from benchmarks.compare.store import read
from benchmarks.compare.tasks import every_task
from benchmarks.compare.world import pictures_of
from worker.evaluation.interval import paired_gain

OPEN, CLOSE = "<!-- made by: python -m benchmarks.compare table -->\n", "<!-- end of what is made -->\n"
Cells = list[str]


def write_page(scale: Scale) -> None:
    """Replace what stands between the marks; a page that is not there yet is begun."""
    path = scale.docs / "comparison.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.exists() else f"# Comparison\n\n{OPEN}{CLOSE}"
    before, rest = text.split(OPEN)
    path.write_text(before + OPEN + "\n".join(made(scale)) + "\n" + CLOSE + rest.split(CLOSE)[1])


def made(scale: Scale) -> Iterator[str]:
    yield from ("", *origin(scale), "")
    yield from ("### Goals", "", *(f"- {line}" for line in goals(scale)), "")
    if read(scale.outcomes, "base") is None:
        return
    yield from ("### Each row at its own best (guidance, steps) of NFE 20", "", *table(trained(scale, "best")), "")
    yield from ("### The same at guidance 1", "", *table(trained(scale, "plain")), "")
    yield from ("### Search, without training", "", *table(searches(scale)), "")
    for name, caption in plots.write(scale):
        yield from (f"![{caption}](figures/{name})", "")
    yield from ("### Break-even", "", *table(break_even(scale)), "")
    yield from ("### Ablations", "", *table(ablation_rows(scale)), "")
    yield from ("### Tuning", "", *table(tuning_rows(scale)), "")


def origin(scale: Scale) -> Iterator[str]:
    """Command, commits, machines, and how much is there."""
    told = outcomes(scale)
    commits = Counter(one["commit"] for one in told.values())
    machines = Counter(f"{one['machine']['cpu']}, {one['machine']['cores']} cores" for one in told.values())
    yield f"`make compare`, {len(told)} of {len(every_task(scale))} tasks finished. "
    yield f"Commits: {', '.join(str(name) for name in commits) or 'none'}. Machine: {'; '.join(machines) or 'none'}; one thread a task."


def trained(scale: Scale, where: str) -> Iterator[Cells]:
    """The base and every trained row, the mean of its seeds."""
    yield ["method", "trained on", "fe", "core s", "guidance", "NFE", "exact (95 %)", "gain, points (95 %)", "seeds", "colour",
           "shape", "relation", "CLIP", "preference", "diversity"]  # fmt: skip
    base = read(scale.outcomes, "base")
    assert base is not None
    yield _row(base["method"], [base], base, where)
    for method, trained_on, long in groups(scale):
        yield _row(method, runs_of(scale, method, trained_on, long), base, where)


def groups(scale: Scale) -> list[tuple[str, str, bool]]:
    """(method, trained on, long) of the finished rows, in the order of the table."""
    found = {
        (one["method"], one["trained_on"], one["long"])
        for name, one in outcomes(scale).items()
        if "test" in one and "long" in one
    }
    return sorted(found, key=lambda one: (ORDER.index(one[0]), one[1], one[2]))


def _row(method: str, told: list[dict[str, Any]], base: dict[str, Any], where: str) -> Cells:
    figures = [at_plain(one) if where == "plain" else at_best(one) for one in told]
    texts, _ = pictures_of("test", figures[0]["pictures"])
    share, is_base = over_seeds(bits(told, where), texts), told[0] is base
    guidances = sorted({f"{one['setting'][0]:g}" for one in figures})
    return [
        method, told[0]["trained_on"], "" if is_base else f"{_mean(told, 'training_fe'):,.0f}",
        "" if is_base else f"{_mean(told, 'seconds'):,.0f}", ", ".join(guidances), str(figures[0]["nfe"]), interval(share),
        "" if is_base else points(gain(told, base, where)), " ".join(f"{one['exact']:.3f}" for one in figures),
        *(_cell(_mean(figures, name)) for name in ("colour", "shape", "relation", "score_clip", "score_preference", "diversity")),
    ]  # fmt: skip


def _mean(told: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([one[name] for one in told if one[name] is not None] or [np.nan]))


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def searches(scale: Scale) -> Iterator[Cells]:
    yield ["method", "under", "guidance", "NFE", "exact (95 %)", "CLIP", "preference", "diversity"]
    for row in rows(scale):
        if row["training_fe"] == 0 and row["method"] != "base":
            low, high = row["exact_ci95"]
            apart = "" if row["diversity"] is None else f"{row['diversity']:.3f}"
            yield [
                row["method"], row["trained_on"], f"{row['guidance']:g}", f"{row['inference_nfe']:,}",
                f"{row['exact']:.3f} ({low:.3f} to {high:.3f})", f"{row['score_clip']:.3f}", f"{row['score_preference']:.3f}", apart,
            ]  # fmt: skip


def break_even(scale: Scale) -> Iterator[Cells]:
    """Against the smallest best-of-N (of 2, 4, 8, …, at either guidance) that is as often right as the row at its best."""
    yield ["method", "trained on", "fe", "exact", "search that does as well", "its NFE", "training is cheaper after"]
    pools = [pool for where in ("plain", "best") if (pool := read(scale.outcomes, f"pool-{where}"))]
    base = read(scale.outcomes, "base")
    assert base is not None
    for method, trained_on, long in groups(scale) if pools else []:
        told = runs_of(scale, method, trained_on, long)
        exact, nfe, fe = bits(told, "best").mean(), at_best(told[0])["nfe"], _mean(told, "training_fe")
        equal = [
            (figures["nfe"], f"best-of-{n} at guidance {pool['setting'][0]:g}")
            for pool in pools
            for n, figures in pool["best_of"].items()
            if figures["exact"] >= exact and int(n) > 1
        ]
        start = [method, trained_on, f"{fe:,.0f}", f"{exact:.3f}"]
        if exact <= at_best(base)["exact"]:
            yield [*start, "the base itself", str(nfe), "never"]
        elif not equal:
            yield [*start, "none of the pool", "", "the first picture"]
        else:
            cost, name = min(equal)
            yield [*start, name, str(cost), f"{fe / (cost - nfe):,.0f} pictures"]


def ablation_rows(scale: Scale) -> Iterator[Cells]:
    """Against the unchanged default, paired over the same pictures; one training seed, whose chance no interval covers."""
    yield [
        "changed",
        "fe",
        *(f"exact at {setting.guidance:g}" for setting in LOOKED_AT),
        *(f"gain at {setting.guidance:g}" for setting in LOOKED_AT),
    ]
    found = {one["ablation"]: one for one in ablations(scale)}
    default = found.get("default")
    for name, one in found.items():
        if one["failed"]:
            yield [name, "", "", f"failed: {one['failed']}"[:120], "", ""]
            continue
        gains = [_paired(default, one, str(setting)) if default and name != "default" else "" for setting in LOOKED_AT]
        yield [name, f"{one['training_fe']:,}", *(f"{one['exact'][str(setting)]:.3f}" for setting in LOOKED_AT), *gains]


def _paired(default: dict[str, Any], one: dict[str, Any], setting: str) -> str:
    before, after = (from_bits(some["seen"][setting]) for some in (default, one))
    texts, _ = pictures_of("validation", len(after))
    found = paired_gain(before.tolist(), after.tolist(), texts)
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def tuning_rows(scale: Scale) -> Iterator[Cells]:
    """The chosen values of each method, and the spread of the losers; the whole grid is tuning.json."""
    yield ["method", "learning rate", "knob", "score", "runs", "worst", "failed"]
    grid = tuning(scale)
    for name, method in TRAINED.items():
        told = [one for one in grid if one["method"] == name]
        chosen = next((one for one in told if one["chosen"]), None)
        if chosen:
            scores = [one["score"] for one in told if one["score"] is not None]
            yield [name, f"{chosen['learning_rate']:g}", f"{method.knob} {chosen[method.knob]}", f"{chosen['score']:.3f}", str(len(told)),
                   f"{min(scores):.3f}", str(len(told) - len(scores))]  # fmt: skip


def table(lines: Iterator[Cells]) -> Iterator[str]:
    """Markdown."""
    for number, cells in enumerate(lines):
        yield "| " + " | ".join(cells) + " |"
        if number == 0:
            yield "|---" * len(cells) + "|"
