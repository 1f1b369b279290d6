"""The grid that every trained method gets, and the way on from its edge.

Four learning rates times three values of the method's one own knob. Where the best run stands at an edge of the rates, its knob's
value is tried one rate further, and again, `len(Scale.beyond)` in all: a grid that ends too early would favour the methods that it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.compare.methods import TRAINED, tuned_as
from benchmarks.compare.scale import Scale
from benchmarks.compare.store import read


def trial_name(method: str, rate: float, value: Any) -> str:
    return f"tune-{method}-{rate:g}-{value}"


def grid(scale: Scale, method: str) -> dict[str, dict[str, Any]]:
    """Every run of a method's grid, with the values that it tries."""
    one = TRAINED[method]
    return {
        trial_name(method, rate, value): {"learning_rate": rate, one.knob: value}
        for rate in scale.rates
        for value in one.values[: scale.knob_values]
    }


def trials(scale: Scale, method: str) -> dict[str, dict[str, Any]]:
    """The grid and, as far as outcomes already tell, the runs beyond its edge: it may grow when a run ends."""
    found, ladder = grid(scale, method), scale.ladder
    while (best := _best(scale, found)) is not None:
        tried = sorted({hyper["learning_rate"] for hyper in found.values()})
        place = ladder.index(found[best]["learning_rate"])
        way = {tried[0]: -1, tried[-1]: 1}.get(ladder[place], 0)
        if way == 0 or not 0 <= place + way < len(ladder):
            break
        hyper = {**found[best], "learning_rate": ladder[place + way]}
        found[trial_name(method, hyper["learning_rate"], hyper[TRAINED[method].knob])] = hyper
    return found


def tuned(scale: Scale, method: str) -> dict[str, Any] | None:
    """The values of the best finished run; None until every run is there.

    Of equals the larger rate, then the first: a method that learns nothing in a trial has one in longer runs, if any.
    """
    found = trials(scale, method)
    best = _best(scale, found)
    return None if best is None else found[best]


def current(scale: Scale, told: Mapping[str, Any]) -> bool:
    """Whether a row's outcome was trained with its method's tuned values; nothing else is known while there are none."""
    best = tuned(scale, tuned_as(told["method"]))
    recipe = told["tried"] if "failed" in told else told["recipe"]
    shown = recipe.get("method", recipe)
    return best is None or all(shown.get(name) == value for name, value in best.items())


def _best(scale: Scale, found: dict[str, dict[str, Any]]) -> str | None:
    told = {name: read(scale.outcomes, name) for name in found}
    if not all(told.values()):
        return None
    scores = {name: (one or {}).get("score") or -1.0 for name, one in told.items()}
    return max(found, key=lambda name: (scores[name], found[name]["learning_rate"]))
