"""Does a row's adapter give the row's figures? Judges it again, or trains it again first (`--retrain`).

Adapters of the first seed are committed. Those of the other seeds are kept where they were trained, and trained again elsewhere.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.compare.judging import evaluated
from benchmarks.compare.results import setting_of
from benchmarks.compare.rows import adapter_path
from benchmarks.compare.running import worn
from benchmarks.compare.scale import Scale
from benchmarks.compare.store import read
from benchmarks.compare.tasks import every_task
from benchmarks.compare.world import base

SAME = ("exact", "colour", "shape", "relation", "score_clip", "score_preference", "diversity", "nfe")
TOLERANCE = 0.005
"""Of a share of 1,482 pictures: 7 of them. On the same kind of CPU the figures are equal to the last digit."""


def recompute(scale: Scale, name: str, retrain: bool) -> bool:
    """Prints a line a figure; true if all are met. Searches have no adapter: theirs are searched again."""
    told = read(scale.outcomes, name)
    if told is None or not figures_of(told):
        raise SystemExit(f'"{name}" is no finished row; python -m benchmarks.compare plan lists the tasks')
    if retrain or "test" not in told:
        return again(scale, name, told)
    family = base()
    if name == "base":
        found = {setting: _judged(family, told, setting) for setting in told["test"]}
    else:
        with worn(family, bytes_of(scale, name, told)):
            found = {setting: _judged(family, told, setting) for setting in told["test"]}
    return compared_all(told, found)


def figures_of(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a row's outcome states, by setting or by the number that was searched."""
    found: dict[str, dict[str, Any]] = told.get("test") or told.get("best_of") or {}
    return found or ({"search": told["figures"]} if "figures" in told else {})


def _judged(family: Any, told: dict[str, Any], setting: str) -> dict[str, Any]:
    return evaluated(family, "test", told["test"][setting]["pictures"], setting_of(setting))


def bytes_of(scale: Scale, name: str, told: dict[str, Any]) -> bytes:
    for committed in (True, False):
        path = adapter_path(scale, name, committed)
        if path.exists():
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != told["adapter_sha256"]:
                raise SystemExit(f"{path.name} is another adapter than the row's: its SHA-256 differs")
            return data
    raise SystemExit(f"the adapter of {name} is not kept here; --retrain trains it again from its recipe")


def again(scale: Scale, name: str, told: dict[str, Any]) -> bool:
    """The task anew, in a folder of its own: what it makes must not take the place of what it is compared with."""
    task = next((task for task in every_task(scale) if task.name == name), None)
    if task is None:
        raise SystemExit(f"{name} is no task of this checkout's comparison: its outcome was made by an earlier one")
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = replace(scale, results=Path(folder), scratch=Path(folder))
        found = task.work(elsewhere, elsewhere.scratch / "work" / name, print)
    if "adapter_sha256" in told:
        same = found.get("adapter_sha256") == told["adapter_sha256"]
        print(f"adapter: {'the same bytes' if same else 'other bytes (another kind of CPU, or another commit)'}")
    return compared_all(told, figures_of(found))


def compared_all(told: dict[str, Any], found: dict[str, dict[str, Any]]) -> bool:
    """Every figure is printed, also after one that is not met; what is missing is not met."""
    before = figures_of(told)
    met = [compared(before[name], found[name], name) if name in found else False for name in before]
    return all(met)


def compared(told: dict[str, Any], found: dict[str, Any], setting: str) -> bool:
    met = True
    for name in SAME:
        before, after = told[name], found[name]
        close = before == after or (before is not None and after is not None and abs(before - after) <= TOLERANCE)
        met = met and close
        print(f"{setting} {name}: {before} in the row, {after} now: {'met' if close else 'NOT MET'}")
    return met
