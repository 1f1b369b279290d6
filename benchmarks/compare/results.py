"""From outcomes to results.json (the rows), tuning.json (the grid with its losers) and ablations.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.compare.judging import from_bits
from benchmarks.compare.methods import ORDER, SEARCHES, TRAINED
from benchmarks.compare.rows import Row
from benchmarks.compare.scale import Scale
from benchmarks.compare.store import read
from benchmarks.compare.tasks import every_task, finished
from benchmarks.compare.tuning import current, trials, tuned
from benchmarks.compare.world import PLAIN, Setting, pictures_of
from worker.evaluation.interval import bootstrap
from worker.shapes.splits import prompts

FIELDS = (
    "method", "trained_on", "guidance", "seed", "training_nfe", "training_fe", "seconds", "exact", "exact_ci95", "colour",
    "shape", "relation", "score_clip", "score_preference", "diversity", "inference_nfe", "adapter_sha256", "curve",
)  # fmt: skip
"""Of a row, exactly. A row's guidance is where it was judged; a run has one row at 1 and one at its own best."""
JUDGED = ("exact", "colour", "shape", "relation", "score_clip", "score_preference", "diversity")


def outcomes(scale: Scale) -> dict[str, dict[str, Any]]:
    """Every finished task's, in the order of the tasks."""
    found = {task.name: read(scale.outcomes, task.name) for task in every_task(scale) if finished(scale, task)}
    return {name: told for name, told in found.items() if told is not None}


@dataclass(frozen=True, slots=True)
class Runs:
    """A row's runs, a seed each, in the order of the seeds. A mean is over `done`; `planned` says over how many it shall be."""

    done: tuple[dict[str, Any], ...]
    failed: tuple[dict[str, Any], ...]
    planned: int

    def __str__(self) -> str:
        return "; ".join([f"{len(self.done)} of {self.planned} seeds", *self.failures])

    @property
    def failures(self) -> list[str]:
        """A failed run is told wherever its row is: a mean over those that survived would hide it."""
        return [f"seed {told['seed']}: failed ({told['failed'].split(':')[0]})" for told in self.failed]


def runs_of(scale: Scale, method: str, trained_on: str, long: bool) -> Runs:
    """Of a row, whatever is there of it."""
    names = [row.name for row in planned(scale) if (row.method, row.trained_on, row.long) == (method, trained_on, long)]
    found = [told for name in names if (told := read(scale.outcomes, name)) is not None]
    there = sorted(
        (told for told in found if "recipe" not in told or current(scale, told)), key=lambda told: int(told["seed"])
    )
    return Runs(
        tuple(one for one in there if "test" in one), tuple(one for one in there if "failed" in one), len(names)
    )


@cache
def planned(scale: Scale) -> tuple[Row, ...]:
    """Every trained row that has a task, a seed each: outcomes do not change these."""
    parts = [
        task.name.removeprefix("row-").rsplit("-", 3) for task in every_task(scale) if task.name.startswith("row-")
    ]
    return tuple(Row(method, trained_on, budget == "long", int(seed)) for method, trained_on, budget, seed in parts)


def rows(scale: Scale) -> list[dict[str, Any]]:
    """results.json: in the order of the methods, then of training_fe, seed and guidance."""
    found = search_rows(scale)
    for name, told in outcomes(scale).items():
        if name == "base" or (name.startswith("row-") and "test" in told):
            found += _trained(scale, told)
    return _sorted(found)


def search_rows(scale: Scale) -> list[dict[str, Any]]:
    """Those of them that have no training: best-of-N out of the pools, zero-order and path search."""
    found: list[dict[str, Any]] = []
    for name, told in outcomes(scale).items():
        if name.startswith("pool-"):
            found += _best_of(scale, told)
        elif name.startswith(("zero-order-", "path-search-")):
            found.append(_search(scale, name.rsplit("-", 1)[0], told["setting"], told["figures"]))
    return _sorted(found)


def _sorted(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    unique = {json.dumps(row, sort_keys=True): row for row in found}.values()  # where the best setting is guidance 1
    return sorted(unique, key=_place)


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return ORDER.index(row["method"]), row["trained_on"], row["training_fe"] // 1000, row["seed"] or 0, row["guidance"]


def _trained(scale: Scale, told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for setting, figures in told["test"].items():
        texts, _ = pictures_of("test", figures["pictures"])
        interval = bootstrap(from_bits(figures["bits"]).tolist(), texts)
        row = {
            "method": told["method"], "trained_on": told["trained_on"], "guidance": setting_of(setting).guidance,
            "seed": told.get("seed"), "training_nfe": told.get("training_nfe", 0),
            "training_fe": told.get("training_fe", 0), "seconds": told.get("seconds", 0.0),
            **{name: figures[name] for name in JUDGED},
            "exact_ci95": [round(interval.low, 4), round(interval.high, 4)], "inference_nfe": figures["nfe"],
            "adapter_sha256": told.get("adapter_sha256"), "curve": [_point(scale, mark) for mark in told.get("curve", [])],
        }  # fmt: skip
        yield {name: row[name] for name in FIELDS}


def _point(scale: Scale, mark: Mapping[str, Any]) -> dict[str, Any]:
    """A look at a run: what had been spent, and exact by setting (guidance x steps) on the same validation pictures each time."""
    exact = {
        setting: round(float(from_bits(bits)[: scale.curve_pictures].mean()), 4)
        for setting, bits in mark["seen"].items()
    }
    return {"training_fe": mark["fe"], "training_nfe": mark["nfe"], "seconds": mark["seconds"], "exact": exact}


def _best_of(scale: Scale, told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in SEARCHES:
        size = name.removeprefix("best-of-")
        if size in told["best_of"]:
            figures = told["best_of"][size]
            yield _search(scale, name, told["setting"], figures, figures["by_prompt"])


def _search(
    scale: Scale, method: str, setting: list[float], figures: Mapping[str, Any], by_prompt: list[float] | None = None
) -> dict[str, Any]:
    """A search has no training: its cost is in inference_nfe. trained_on: the reward that it searched under."""
    texts = prompts("test")[: scale.search_prompts]
    interval = bootstrap(by_prompt or from_bits(figures["bits"]).tolist(), texts)
    row = {
        "method": method, "trained_on": "clip", "guidance": setting[0], "seed": None, "training_nfe": 0, "training_fe": 0,
        "seconds": 0.0, **{name: figures[name] for name in JUDGED},
        "exact_ci95": [round(interval.low, 4), round(interval.high, 4)], "inference_nfe": figures["nfe"],
        "adapter_sha256": None, "curve": [],
    }  # fmt: skip
    return {name: row[name] for name in FIELDS}


def setting_of(text: str) -> Setting:
    """The inverse of str(Setting)."""
    guidance, steps = text.split("x")
    return Setting(float(guidance), int(steps))


def tuning(scale: Scale) -> list[dict[str, Any]]:
    """Every finished run of every grid; `chosen` is null until the method's grid is whole."""
    found = []
    for method in TRAINED:
        best = tuned(scale, method)
        for name, hyper in trials(scale, method).items():
            told = read(scale.outcomes, name)
            if told is not None:
                kept = {key: told.get(key) for key in ("score", "exact", "training_fe", "seconds", "failed")}
                found.append({"method": method, **hyper, **kept, "chosen": None if best is None else best == hyper})
    return found


def ablations(scale: Scale) -> list[dict[str, Any]]:
    """Every finished run, in the order of the tasks: a change has one or two, a learning rate each (`tables.py` shows the better)."""
    keys = ("rate", "recipe", "training_nfe", "training_fe", "seconds", "score", "exact", "seen", "failed")
    return [
        {"ablation": told["ablation"], "method": told["method"], **{key: told.get(key) for key in keys}}
        for name, told in outcomes(scale).items()
        if name.startswith("ablation-")
    ]


def write_results(scale: Scale) -> None:
    for name, found in (("results", rows(scale)), ("tuning", tuning(scale)), ("ablations", ablations(scale))):
        write_lines(scale.results / f"{name}.json", found)


def write_lines(path: Path, found: list[dict[str, Any]]) -> None:
    """A JSON list with one entry a line, so that a change of one row is a change of one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(entry) for entry in found)
    path.write_text(f"[\n{lines}\n]\n" if found else "[]\n")


def at_plain(told: Mapping[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = told["test"][str(PLAIN)]
    return figures


def at_best(told: Mapping[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = told["test"][told["best"]]
    return figures
