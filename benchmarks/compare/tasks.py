"""Everything that the comparison computes, as tasks in the order in which they are worth having: the most telling first.

The list may grow: a grid whose best run stands at its edge goes on (`tuning.py`).
A task is a name, the names that it needs, an estimate in forward-equivalents, and a function that returns its outcome as
JSON. What is finished is a file; so whatever is there can be tabled at any time, and a later checkout goes on from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare import rows, searching
from benchmarks.compare.methods import DEFAULT, LONG, SHUFFLED, TRAINED, TRAJECTORIES, TrainedOn, tuned_as
from benchmarks.compare.scale import Ablation, Scale
from benchmarks.compare.store import read
from benchmarks.compare.tuning import current, trials, tuned
from benchmarks.compare.world import GRID, PLAIN, Setting

Say = Callable[[str], None]
Work = Callable[[Scale, Path, Say], dict[str, Any]]
TRAIN_PACE, EVALUATION_PACE = 300.0, 360.0
"""fe a second of one core, before anything was measured."""


@dataclass(frozen=True, slots=True)
class Task:
    """`train_fe` and `evaluation_fe` are estimates."""

    name: str
    needs: tuple[str, ...]
    train_fe: float
    evaluation_fe: float
    work: Work

    @property
    def seconds(self) -> float:
        return self.train_fe / TRAIN_PACE + self.evaluation_fe / EVALUATION_PACE


def every_task(scale: Scale) -> list[Task]:
    """In the order of their worth; what a task needs stands before it."""
    first = scale.seeds[0]
    rivals = [name for name in TRAINED if name != DEFAULT and TRAINED[name].type is not None]
    controls = [name for name, method in TRAINED.items() if method.type is None]
    choice, pools, guided = _searches(scale)
    found = [_base(scale), choice, *pools, *_tuning(scale, DEFAULT)]
    found += [_row(scale, DEFAULT, reward, first) for reward in ("clip", "scene")]
    found += _ablations(scale, DEFAULT)
    for name in rivals:
        found += [*_tuning(scale, name), _row(scale, name, "clip", first)]
    found += _ablations(scale, TRAJECTORIES)
    found += [_row(scale, name, "clip", first, long=True) for name in LONG] + guided
    found += [_row(scale, SHUFFLED, "none", first), _row(scale, DEFAULT, "preference", first)]
    found += [_sweep(scale, None), _sweep(scale, rows.Row(DEFAULT, "clip", False, first).name)]
    for name in controls:
        found += [*_tuning(scale, name), _row(scale, name, "none", first)]
    for seed in scale.seeds[1:]:
        found += [_row(scale, DEFAULT, reward, seed) for reward in ("clip", "scene")]
        found += [_row(scale, name, "clip", seed) for name in rivals]
        found.append(_row(scale, SHUFFLED, "none", seed))
    found += [_row(scale, name, "clip", seed, long=True) for seed in scale.seeds[1:] for name in LONG]
    return found


def finished(scale: Scale, task: Task) -> bool:
    """Its outcome is there, and, of a row, made with the values that are the tuned ones now."""
    told = read(scale.outcomes, task.name)
    return told is not None and ("long" not in told or current(scale, told))


def _base(scale: Scale) -> Task:
    fe = 20 * (len(GRID) * scale.choice_pictures + 2 * scale.test_pictures)
    return Task("base", (), 0, fe, rows.base_row)


def _searches(scale: Scale) -> tuple[Task, list[Task], list[Task]]:
    """The choice of setting and radius; then, at guidance 1 and at the chosen setting, pools, and zero-order and path search."""
    choice = 20 * scale.search_choice_prompts * (8 * len(GRID) + 32)

    def both(kind: str, each: int) -> list[Task]:
        fe = 20 * each * scale.search_prompts
        plain = Task(f"{kind}-plain", ("search-choice",), 0, fe, _search(kind, "plain"))
        return [plain, Task(f"{kind}-best", ("search-choice", plain.name), 0, fe, _search(kind, "best"))]

    guided = [*both("zero-order", 32), *both("path-search", 33)]
    return Task("search-choice", (), 0, choice, searching.choice), both("pool", scale.pool), guided


def _search(kind: str, where: str) -> Work:
    def work(scale: Scale, scratch: Path, say: Say) -> dict[str, Any]:
        choice = read(scale.outcomes, "search-choice")
        assert choice, "the runner begins with what a task needs"
        setting = PLAIN if where == "plain" else Setting(*choice["setting"])
        if where == "best" and setting == PLAIN:  # chosen: guidance 1, which is there already
            return read(scale.outcomes, f"{kind}-plain") or {}
        if kind == "pool":
            return searching.pool(scale, setting, scratch, say)
        return searching.guided(scale, kind, setting, choice["radius"], say)

    return work


def _tuning(scale: Scale, method: str) -> list[Task]:
    looks = 2 * 20 * scale.trial_pictures

    def task(name: str, hyper: dict[str, Any]) -> Task:
        return Task(
            name, (), scale.trial, looks, lambda scale, scratch, say: rows.trial(scale, method, hyper, scratch, say)
        )

    return [task(name, hyper) for name, hyper in trials(scale, method).items()]


def _row(scale: Scale, method: str, trained_on: TrainedOn, seed: int, *, long: bool = False) -> Task:
    row, shares = rows.Row(method, trained_on, long, seed), scale.long_points if long else scale.main_points
    looks = 2 * 20 * scale.curve_pictures * len(shares)
    ending = 20 * (len(GRID) * scale.choice_pictures + 2 * scale.test_pictures)

    def work(scale: Scale, scratch: Path, say: Say) -> dict[str, Any]:
        hyper = tuned(scale, tuned_as(method))
        assert hyper is not None, "the runner begins with what a task needs"
        return rows.trained_row(scale, row, hyper, scratch, say)

    needs, budget = tuple(trials(scale, tuned_as(method))), scale.long if long else scale.main
    return Task(row.name, needs, budget, looks + ending, work)


def _sweep(scale: Scale, row: str | None) -> Task:
    """Accuracy against NFE: the base at several guidances, or a row's adapter at guidance 1 and at its best."""
    calls = sum(scale.sweep_steps) * (1 + 2 * (len(rows.SWEEP_GUIDANCES) if row is None else 1))
    name, needs = ("sweep-base", ()) if row is None else (f"sweep-{row}", (row,))
    return Task(name, needs, 0, calls * scale.sweep_pictures, lambda scale, scratch, say: rows.sweep(scale, row, say))


def _ablations(scale: Scale, method: str) -> list[Task]:
    """All at the tuned rate, some at the next lower too; before it is tuned, a guess, so that the plan is whole."""
    best = tuned(scale, method)
    rate = scale.rates[-1] if best is None else best["learning_rate"]
    lower = scale.ladder[: scale.ladder.index(rate)][-1:]

    def task(one: Ablation, rate: float) -> Task:
        def work(scale: Scale, scratch: Path, say: Say) -> dict[str, Any]:
            hyper = tuned(scale, method)
            assert hyper is not None, "the runner begins with what a task needs"
            return rows.ablation(scale, one, {**hyper, "learning_rate": rate}, scratch, say)

        looks = 2 * 20 * scale.ablation_pictures
        return Task(f"ablation-{method}-{one[1]}-{rate:g}", tuple(trials(scale, method)), scale.trial, looks, work)

    found = [task(one, rate) for one in scale.ablations if one[0] == method]
    return found + [task(one, less) for less in lower for one in scale.at_lower_rate if one[0] == method]
