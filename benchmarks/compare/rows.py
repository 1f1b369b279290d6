"""The work behind the rows: the base, a trained row, a run of the tuning grid, an ablation, a sweep over NFE."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

from benchmarks.compare.judging import evaluated, exact_bits
from benchmarks.compare.methods import ABLATIONS, SHUFFLED, TRAINED, tuned_as
from benchmarks.compare.recipes import Run
from benchmarks.compare.running import Looks, run_to_end, share, steps_for, worn, write_bytes
from benchmarks.compare.scale import Ablation, Scale
from benchmarks.compare.store import read
from benchmarks.compare.world import GRID, PLAIN, Setting, base
from service.domain.errors import JobFailure
from worker.models.family import Family

Say = Callable[[str], None]
LOOKED_AT = (PLAIN, GRID[3])
"""Where curves are measured: guidance 1, and guidance 3, both NFE 20."""
SWEEP_GUIDANCES = (2.0, 3.0, 5.0)
"""Beside guidance 1."""


def base_row(scale: Scale, scratch: Path, say: Say) -> dict[str, Any]:
    started, family = time.process_time(), base()
    return {
        "method": "base",
        "trained_on": "none",
        **judged(scale, family, {}, say),
        "evaluation_seconds": _since(started),
    }


@dataclass(frozen=True, slots=True)
class Row:
    """A trained row of the table. `long`: to the long budget, on a schedule of its own."""

    method: str
    trained_on: str
    long: bool
    seed: int

    @property
    def name(self) -> str:
        return f"row-{self.method}-{self.trained_on}-{'long' if self.long else 'main'}-{self.seed}"

    @property
    def reward(self) -> str:
        """What the loop is handed: the control's scores are the CLIP's, shuffled."""
        return "shuffled" if self.method == SHUFFLED else self.trained_on


def trained_row(scale: Scale, row: Row, hyper: Mapping[str, Any], scratch: Path, say: Say) -> dict[str, Any]:
    """Train with the tuned values, keep the adapter, judge it."""
    budget = scale.long if row.long else scale.main
    run = Run(row.name, TRAINED[tuned_as(row.method)], row.reward, budget, row.seed, hyper)
    shares = scale.long_points if row.long else scale.main_points
    looks = Looks(shares, scale.curve_pictures, scale.choice_pictures, LOOKED_AT)
    try:
        trained = run_to_end(run, steps_for(run, scale.scratch / "paces", scale.pace_updates), looks, scratch, say)
    except JobFailure as failure:
        shutil.rmtree(scratch, ignore_errors=True)
        return {**asdict(row), "tried": dict(hyper), "failed": f"{failure.code}: {failure}"}
    adapter = halved(trained["adapter"])
    write_bytes(adapter_path(scale, row.name, row.seed == scale.seeds[0]), adapter)
    started, family = time.process_time(), base()
    with worn(family, adapter):
        found = judged(scale, family, trained["marks"][-1]["seen"], say)
    shutil.rmtree(scratch, ignore_errors=True)
    return {
        **asdict(row), "recipe": run.told(trained["steps"]), **totals(trained), "curve": curve(trained),
        "adapter_sha256": hashlib.sha256(adapter).hexdigest(), **found, "evaluation_seconds": _since(started),
    }  # fmt: skip


def judged(scale: Scale, family: Family, seen: Mapping[str, str], say: Say) -> dict[str, Any]:
    """The best setting of the grid on validation pictures, then test pictures at guidance 1 and there."""
    validation = dict(seen)
    for setting in GRID:
        if str(setting) not in validation:
            validation[str(setting)] = exact_bits(family, "validation", scale.choice_pictures, setting)
    best = max(GRID, key=lambda setting: share(validation[str(setting)]))
    say(f"best on validation: {best}, {share(validation[str(best)]):.3f}")
    test = {
        str(setting): evaluated(family, "test", scale.test_pictures, setting)
        for setting in dict.fromkeys((PLAIN, best))
    }
    return {"validation": validation, "best": str(best), "test": test}


def trial(scale: Scale, method: str, hyper: Mapping[str, Any], scratch: Path, say: Say) -> dict[str, Any]:
    """One run of the tuning grid. `score`: exact on validation pictures, the mean of guidance 1 and 3."""
    control = TRAINED[method].type is None
    run = Run(scratch.name, TRAINED[method], "none" if control else "clip", scale.trial, scale.seeds[0], hyper)
    return {"method": method, **short_run(scale, run, scale.trial_pictures, scratch, say)}


def ablation(scale: Scale, one: Ablation, tuned: Mapping[str, Any], scratch: Path, say: Say) -> dict[str, Any]:
    """The tuned method, its learning rate the one given there, with one thing changed."""
    (method, name), hyper = one, {**tuned, **ABLATIONS[one]}
    run = Run(scratch.name, TRAINED[method], "clip", scale.trial, scale.ablation_seed, hyper)
    found = short_run(scale, run, scale.ablation_pictures, scratch, say, skip=scale.ablation_skip)
    return {"method": method, "ablation": name, "rate": hyper["learning_rate"], **found}


def short_run(scale: Scale, run: Run, pictures: int, scratch: Path, say: Say, *, skip: int = 0) -> dict[str, Any]:
    """A run that is looked at once, at its end; its adapter is not kept."""
    named = {"tried": dict(run.hyper), "seed": run.seed}
    try:
        trained = run_to_end(
            run,
            steps_for(run, scale.scratch / "paces", scale.pace_updates),
            Looks((), pictures, pictures, LOOKED_AT, skip),
            scratch,
            say,
        )
    except JobFailure as failure:
        shutil.rmtree(scratch, ignore_errors=True)
        return {**named, "failed": f"{failure.code}: {failure}", "score": None}
    seen = trained["marks"][-1]["seen"]
    shutil.rmtree(scratch, ignore_errors=True)
    exact = {setting: round(share(bits), 4) for setting, bits in seen.items()}
    return {
        **named, "recipe": run.told(trained["steps"]), **totals(trained), "seen": seen, "exact": exact,
        "score": round(sum(exact.values()) / len(exact), 4),
    }  # fmt: skip


def sweep(scale: Scale, row: str | None, say: Say) -> dict[str, Any]:
    """Exact and diversity at several step counts; two pictures a prompt."""
    started, family, guidances = time.process_time(), base(), [1.0, *SWEEP_GUIDANCES]
    if row is not None:
        told = read(scale.outcomes, row)
        assert told, "the runner begins with what a task needs"
        best = told.get("best", str(PLAIN))
        guidances = sorted({1.0, float(best.split("x")[0])})
        path = adapter_path(scale, row, True)
        family.load_adapter("swept", path.read_bytes())
        family.wear("swept")
    points = []
    for guidance in guidances:
        for steps in scale.sweep_steps:
            setting, half = Setting(guidance, steps), scale.sweep_pictures // 2
            found = evaluated(family, "test", scale.sweep_pictures, setting, prompt_count=half)
            points.append({key: found[key] for key in ("setting", "nfe", "exact", "diversity", "bits")})
            say(f"{row or 'base'} at {guidance:g}, {steps} steps: {found['exact']:.3f}")
    return {"row": row, "points": points, "evaluation_seconds": _since(started)}


def totals(trained: Mapping[str, Any]) -> dict[str, Any]:
    last = trained["marks"][-1]
    return {
        "training_nfe": last["nfe"], "training_fe": last["fe"], "decodes": last["decodes"],
        "reward_calls": last["reward_calls"], "seconds": last["seconds"],
    }  # fmt: skip


def curve(trained: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The marks at which the run was looked at."""
    return [mark for mark in trained["marks"] if "seen" in mark]


def adapter_path(scale: Scale, row: str, committed: bool) -> Path:
    """Adapters of the first seed are small enough to be committed; the others can be trained again from their recipe."""
    return (scale.results if committed else scale.scratch) / "adapters" / f"{row}.safetensors"


def halved(adapter: bytes) -> bytes:
    """The adapter in fp16: what is kept is what is judged."""
    tensors = {name: value.half().contiguous() for name, value in safetensors.torch.load(adapter).items()}
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def _since(started: float) -> float:
    return round(time.process_time() - started, 1)
