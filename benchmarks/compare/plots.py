"""The comparison's plots: accuracy against what training cost, and against the calls that a picture costs; sheets of pictures."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.compare.judging import from_bits
from benchmarks.compare.methods import DEFAULT, LONG, SHUFFLED, TRAINED
from benchmarks.compare.results import runs_of, search_rows
from benchmarks.compare.rows import LOOKED_AT, Row
from benchmarks.compare.scale import Scale
from benchmarks.compare.store import read
from benchmarks.compare.world import Setting
from worker.evaluation.score import judge_scenes

CALLS = (5, 10, 20, 50, 100, 200, 500, 1000, 2500)
"""Ticks of the axis of denoiser calls."""
COSTS = {
    "fe": (2_500, 5_000, 10_000, 20_000, 40_000, 60_000, 120_000, 240_000),
    "seconds": (10, 20, 50, 100, 200, 500, 1000),
}
COLOURS = {name: f"C{place}" for place, name in enumerate(TRAINED)} | {SHUFFLED: "black"}
"""Ten have a colour of the cycle; the control is black."""


def write(scale: Scale) -> Iterator[tuple[str, str]]:
    """(file name under docs/figures, caption) of each plot."""
    folder = scale.docs / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = (
        ("compare-training.png", "Exactly right on validation prompts against the cost of training", training(scale)),
        ("compare-nfe.png", "Exactly right and diversity against denoiser calls a picture", calls(scale)),
    )
    for name, caption, figure in drawn:
        if not any(str(line.get_label())[0] != "_" for axis in figure.axes for line in axis.lines):
            pyplot.close(figure)  # nothing to show yet
            continue
        figure.savefig(folder / name, dpi=130, bbox_inches="tight", metadata={"Software": None})
        pyplot.close(figure)
        yield name, caption


def training(scale: Scale) -> Figure:
    """Guidance 1 and 3 by row; forward-equivalents and core seconds by column; the mean of a row's seeds."""
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 8), sharey="row")
    base = read(scale.outcomes, "base")
    for line, setting in zip(axes, LOOKED_AT, strict=True):
        for axis, cost in zip(line, ("fe", "seconds"), strict=True):
            for name, colour in COLOURS.items():
                for long in (False, True) if name in LONG else (False,):
                    x, y = _curve(scale, name, long, cost, setting)
                    label = None if long or not x else name
                    axis.plot(x, y, "--" if long else "-", marker="o", markersize=3, color=colour, label=label)
            if base is not None:
                axis.axhline(from_bits(base["validation"][str(setting)])[: scale.curve_pictures].mean(), color="grey")
            axis.set(xscale="log", xlabel={"fe": "training fe", "seconds": "core seconds of training"}[cost])
            axis.set_xticks(COSTS[cost], [f"{at // 1000:g}k" if at >= 10_000 else f"{at:,}" for at in COSTS[cost]])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        line[0].set_ylabel(f"exactly right, guidance {setting.guidance:g}")
    if axes[0, 0].get_legend_handles_labels()[0]:
        axes[0, 0].legend(fontsize=7, frameon=False)
    return figure


def _curve(scale: Scale, name: str, long: bool, cost: str, setting: Setting) -> tuple[list[float], list[float]]:
    """(cost, exact) of each look, the mean of the finished seeds; a dashed line is the long budget's own schedule."""
    trained_on = "none" if name == SHUFFLED or TRAINED[name].type is None else "clip"
    told = runs_of(scale, name, trained_on, long).done
    marks = [
        [one["curve"][place] for one in told] for place in range(min((len(one["curve"]) for one in told), default=0))
    ]
    x = [float(np.mean([mark[cost] for mark in some])) for some in marks]
    n = scale.curve_pictures
    y = [float(np.mean([from_bits(mark["seen"][str(setting)])[:n].mean() for mark in some])) for some in marks]
    return x, y


def calls(scale: Scale) -> Figure:
    """The base by guidance, best-of-N, and the sharpened adapter, against NFE; the same against diversity."""
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5))
    lines: dict[str, list[tuple[float, float, float | None]]] = {}
    for label, name in (
        ("base", "sweep-base"),
        ("sharpened", f"sweep-{Row(DEFAULT, 'clip', False, scale.seeds[0]).name}"),
    ):
        told = read(scale.outcomes, name)
        for point in told["points"] if told else []:
            line = lines.setdefault(f"{label}, guidance {point['setting'][0]:g}", [])
            line.append((point["nfe"], point["exact"], point["diversity"]))
    for where in ("plain", "best"):
        if pool := read(scale.outcomes, f"pool-{where}"):
            line = [(told["nfe"], told["exact"], told["diversity"]) for told in pool["best_of"].values()]
            lines[f"best-of-N, guidance {pool['setting'][0]:g}"] = line
    for row in search_rows(scale):
        if row["method"] in ("zero-order", "path-search"):
            lines[f"{row['method']}, guidance {row['guidance']:g}"] = [(row["inference_nfe"], row["exact"], None)]
    for label, line in lines.items():
        style = "--" if label.startswith("best-of") else "-"
        for axis, column in ((axes[0], 1), (axes[1], 2)):
            shown = [(point[0], point[column]) for point in line if point[column] is not None]
            axis.plot([x for x, _ in shown], [y for _, y in shown], style, marker="o", markersize=3, label=label)
    for axis, title in zip(axes, ("exactly right", "diversity: mean of 1 − cosine within a prompt"), strict=True):
        axis.set(xscale="log", xlabel="denoiser calls a picture (NFE)", ylabel=title)
        axis.set_xticks(CALLS, [str(count) for count in CALLS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    if lines:
        axes[0].legend(fontsize=7, frameon=False)
    return figure


def sheet(scale: Scale, name: str, rows: dict[str, np.ndarray], texts: list[str]) -> None:
    """docs/figures/`name`, a contact sheet: a line of pictures a row and side, six columns; frames say what the oracle says."""
    columns = min(6, len(texts))
    lines = [(label, start) for start in range(0, len(texts), columns) for label in rows]
    figure, axes = pyplot.subplots(len(lines), columns, figsize=(1.5 * columns, 2.0 * len(lines)), squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for line, (label, start) in zip(axes, lines, strict=True):
        some = rows[label][start : start + columns]
        right = judge_scenes(some, texts[start : start + columns]).exact
        for axis, picture, text, fine in zip(line, some, texts[start:], right, strict=False):
            axis.set_axis_on()
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{label}\n{_folded(text)}", fontsize=5)
            for side in axis.spines.values():
                side.set(color="#2b8a3e" if fine else "#c92a2a", linewidth=2.5)
    folder = scale.docs / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(folder / name, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _folded(text: str) -> str:
    words = text.split()
    return " ".join(words[: len(words) // 2]) + "\n" + " ".join(words[len(words) // 2 :])
