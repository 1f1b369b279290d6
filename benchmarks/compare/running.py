"""Trains one run of the comparison to a budget in fe, looks at it on the way, and goes on after a stop.

A run's scratch folder holds the last checkpoint and `marks.json`: what was counted at each checkpoint, and at some of them
what was seen. The marks are written before the checkpoint; after a stop, marks beyond the checkpoint are dropped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.compare import renders
from benchmarks.compare.judging import exact_bits, from_bits
from benchmarks.compare.recipes import Run
from benchmarks.compare.rewards import reward_named
from benchmarks.compare.store import mine, write
from benchmarks.compare.updates import Done, Kept, Update
from benchmarks.compare.world import Setting, base, base_sha256
from worker.models.family import Family
from worker.training.checkpoint import unpack
from worker.training.events import Checkpointed, Finished, Stepped
from worker.training.loop import train

CHECKPOINT_SECONDS = 40.0
"""Core seconds of training that a stop can cost at most."""
AVERAGE = "average/"


@dataclass(frozen=True, slots=True)
class Looks:
    """When a run is looked at (shares of the budget, and always at its end), and on how many validation pictures then."""

    shares: tuple[float, ...]
    on_the_way: int
    at_the_end: int
    settings: tuple[Setting, ...]
    skip: int = 0
    """Validation pictures that are left out, because something else was chosen on them."""


def run_to_end(run: Run, steps: int, looks: Looks, scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train `steps` updates; returns the totals, the marks and the adapter's bytes (under "adapter")."""
    mine(scratch, {"run": run.told(steps), "budget": run.budget})
    checkpoint, path = scratch / "checkpoint.safetensors", scratch / "marks.json"
    marks: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    resume = checkpoint.read_bytes() if checkpoint.exists() else None
    if resume is None:
        marks = []
    else:
        reached = step_of(run, resume)
        marks = [mark for mark in marks if mark["step"] <= reached]
    driver = Driver(run, looks, marks)
    for event in driver.events(steps, resume):
        if isinstance(event, Kept):
            write(path, driver.marks)
            write_bytes(checkpoint, event.data)
            say(f"{run.name}: update {event.step} of {steps}, {driver.marks[-1]['fe']:,} fe")
        elif isinstance(event, Done):
            return {"steps": steps, "marks": driver.marks, "adapter": event.adapter}
    raise AssertionError("a run ends with Done")


class Driver:
    """Counts, times and looks. Seconds are the core's, of training alone."""

    def __init__(self, run: Run, looks: Looks, marks: list[dict[str, Any]]) -> None:
        self._run, self._looks, self.marks = run, looks, marks
        self._seconds = marks[-1]["seconds"] if marks else 0.0
        self._kept = self._seconds
        self._due = [share * run.budget for share in looks.shares]
        self._last = Update(0, 0, 0, 0, 0)
        self._viewer: Family | None = None

    def events(self, steps: int, resume: bytes | None) -> Iterator[Update | Kept | Done]:
        source = updates(self._run, steps, resume, self.wants_checkpoint)
        while True:
            started = time.process_time()
            event = next(source, None)
            self._seconds += time.process_time() - started
            if event is None:
                return
            if isinstance(event, Update):
                self._last = event
            elif isinstance(event, Kept):
                self._kept = self._seconds
                self.marks.append(self._mark(event, last=event.step == steps))
            yield event

    def wants_checkpoint(self) -> bool:
        return self._look_is_due() or self._seconds - self._kept > CHECKPOINT_SECONDS

    def _look_is_due(self) -> bool:
        before = max((mark["fe"] for mark in self.marks if "seen" in mark), default=0)
        return any(before < due <= self._last.fe for due in self._due)

    def _mark(self, event: Kept, last: bool) -> dict[str, Any]:
        at = self._last
        mark: dict[str, Any] = {
            "step": at.step, "nfe": at.nfe, "fe": at.fe, "decodes": at.decodes, "reward_calls": at.reward_calls,
            "seconds": round(self._seconds, 1),
        }  # fmt: skip
        if last or self._look_is_due():
            pictures = self._looks.at_the_end if last else self._looks.on_the_way
            mark["seen"] = self._seen(event.average, pictures)
        return mark

    def _seen(self, adapter: bytes, pictures: int) -> dict[str, str]:
        """Exact bits by setting."""
        if self._viewer is None:
            self._viewer = base()
        with worn(self._viewer, adapter):
            return {
                str(setting): exact_bits(self._viewer, "validation", pictures, setting, skip=self._looks.skip)
                for setting in self._looks.settings
            }


class worn:
    """The family wears an exported adapter inside the block, and has forgotten it afterwards."""

    def __init__(self, family: Family, adapter: bytes) -> None:
        self._family, self._adapter = family, adapter

    def __enter__(self) -> None:
        self._family.load_adapter("worn", self._adapter)
        self._family.wear("worn")

    def __exit__(self, *_: object) -> None:
        self._family.drop_adapter("worn")


def updates(run: Run, steps: int, resume: bytes | None, wanted: Callable[[], bool]) -> Iterator[Update | Kept | Done]:
    """The events of whichever loop trains this run."""
    family = base()
    if run.method.type is None:
        yield from renders.train(family, run.controls(steps), resume, wanted)
        return
    recipe, reward = run.recipe(steps), reward_named(run.reward)
    for event in train(family, reward, recipe, recipe.prompts, resume=resume, checkpoint_now=wanted):
        if isinstance(event, Stepped):
            yield Update(event.step, event.training_nfe, event.training_fe, event.decodes, event.reward_calls)
        elif isinstance(event, Checkpointed):
            yield Kept(event.step, event.data, averaged(family, event.snapshot.tensors))
        elif isinstance(event, Finished):
            yield Done(event.step, event.adapter)


def averaged(family: Family, tensors: Mapping[str, Tensor]) -> bytes:
    """The averaged adapter that a snapshot of the service's loop holds, as a file."""
    return family.export(
        {name.removeprefix(AVERAGE): value for name, value in tensors.items() if name.startswith(AVERAGE)}
    )


def step_of(run: Run, checkpoint: bytes) -> int:
    step: int = renders.header(checkpoint)["step"] if run.method.type is None else unpack(checkpoint)[0].step
    return step


def steps_for(run: Run, folder: Path, tried: int = 2) -> int:
    """How many updates the budget buys: the schedule of the learning rate must know. Measured on a few updates, once for
    each cost: neither rate nor seed nor the strength of an anchor changes what an update computes, an anchor itself does.
    Known by the whole method, so that a default that the service changes is measured again.

    Twice the same few prompts: methods that draw a prompt's pictures once pay in the first round, all others in both.
    `tried`: updates of such a round; two, because a batch of rollouts may serve two.
    """
    told = run.told(1)
    method = told.get("method", told)
    costly = {name: value for name, value in method.items() if name not in FREE}
    said = json.dumps([costly, bool(method.get("anchor")), base_sha256()], sort_keys=True)
    kept = folder / f"{run.method.name}-{hashlib.sha256(said.encode()).hexdigest()[:8]}.json"
    if not kept.exists():
        first, again = paces(run, tried)
        write(kept, {"of": said, "first": first, "again": again})
    pace = json.loads(kept.read_text())
    return affordable(run.budget, pace["first"], pace["again"], run.round_updates)


FREE = ("learning_rate", "beta", "clip_range", "old_decay", "anchor", "seed")


def paces(run: Run, tried: int) -> tuple[float, float]:
    """fe of an update in the first round and in later ones."""
    totals = [
        event.fe for event in updates(run.trial(tried), 2 * tried, None, lambda: False) if isinstance(event, Update)
    ]
    return totals[tried - 1] / tried, (totals[-1] - totals[tried - 1]) / tried


def affordable(budget: float, first: float, again: float, round_updates: float) -> int:
    """Updates of `first` fe each while the round lasts, then of `again` each; at least 1."""
    in_round = budget / first
    steps = in_round if in_round <= round_updates else round_updates + (budget - first * round_updates) / again
    return max(1, round(steps))


def write_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)


def share(bits: str) -> float:
    return float(from_bits(bits).mean())
