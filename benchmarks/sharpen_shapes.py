"""One recipe on `shapes`, in this process and on one thread: train, choose the guidance on validation, judge on test.

    python -m benchmarks.sharpen_shapes NAME [--steps 60] [--seed 0] [--reward clip] [--set candidates=12 beta=1000 …]

Prints one JSON row and keeps it under build/experiments/NAME.json. A run that was stopped goes on from its last
checkpoint. Base and sharpened are each taken at their own best (guidance, steps) of one grid, all at NFE 20; the gain is
the oracle's, paired over the same test prompts and seeds.
"""

import argparse
import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.compare.rewards import reward_named
from benchmarks.compare.world import BASE, GRID, ROOT, Setting, pictures_of
from service.domain.recipes import Recipe
from worker.evaluation.draw import draw
from worker.evaluation.interval import bootstrap, paired_gain
from worker.evaluation.score import judge_scenes
from worker.models.family import Family
from worker.models.load import load
from worker.rewards.reward import Reward
from worker.shapes.splits import Split, prompts
from worker.training.events import Checkpointed, Finished, Stepped
from worker.training.loop import train


def recipe(arguments: argparse.Namespace) -> Recipe:
    changes = dict(change.split("=") for change in arguments.set)
    return Recipe.model_validate(
        {
            "base_model": "shapes",
            "base": {"name": "shapes", "family": "sd", "source": str(arguments.base), "resolution": 64},
            "prompts": prompts("train"),
            "prompts_sha256": "",
            "prompt_count": len(prompts("train")),
            "reward": {"type": "clip", "model": "shapes-clip"},
            "method": {"type": "sharpening-rlhf", "learning_rate": 1e-3, **changes},
            "lora": {"rank": arguments.rank},
            "steps": arguments.steps,
            "seed": arguments.seed,
            "samples": {"every": 0},
            "checkpoint_every": 20,
        }
    )


def trained(family: Family, reward: Reward, job: Recipe, checkpoint: Path) -> tuple[bytes, list[Stepped]]:
    """The adapter and the steps of this process (those before a resume are not told again)."""
    steps: list[Stepped] = []
    for event in train(
        family, reward, job, job.prompts, resume=checkpoint.read_bytes() if checkpoint.exists() else None
    ):
        if isinstance(event, Stepped):
            steps.append(event)
            if event.step % 10 == 0:
                means = {
                    key: np.mean([getattr(one, key) for one in steps[-10:]]) for key in ("reward_mean", "reward_best")
                }
                print({**{key: round(float(mean), 4) for key, mean in means.items()}, **numbers(event)}, flush=True)
        elif isinstance(event, Checkpointed):
            checkpoint.write_bytes(event.data)
        elif isinstance(event, Finished):
            return event.adapter, steps
    raise AssertionError("a training ends with Finished")


def numbers(event: Stepped) -> dict[str, Any]:
    shown = ("step", "loss", "preference", "accuracy", "beta", "grad_norm", "training_fe", "seconds", "ties")
    return {key: round(value, 4) for key, value in asdict(event).items() if key in shown and value is not None}


def exact(family: Family, split: Split, count: int, setting: Setting) -> np.ndarray:
    """The oracle's word on `count` pictures of a split: its prompts in turn, seeds 0, 1, 2, …"""
    texts, seeds = pictures_of(split, count)
    with family.adapter_folded():
        drawn = draw(family, texts, seeds, guidance=setting[0], steps=setting[1])
    assert drawn.nfe == 20
    return judge_scenes(drawn.pictures, texts).exact


def evaluated(family: Family, arguments: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """Validation accuracy over the grid; test verdicts at the best setting and at guidance 1. Kept in `cache`."""
    if cache.exists():
        return json.loads(cache.read_text())
    sweep = {str(setting): exact(family, "validation", arguments.validation, setting).mean() for setting in GRID}
    best = max(GRID, key=lambda setting: sweep[str(setting)])
    found = {"validation": sweep, "best": best, "test": {}}
    for setting in dict.fromkeys((best, GRID[0])):
        found["test"][str(setting)] = exact(family, "test", arguments.test, setting).astype(int).tolist()
    cache.write_text(json.dumps(found))
    return found


def row(base: dict[str, Any], sharpened: dict[str, Any], count: int) -> dict[str, Any]:
    texts, _ = pictures_of("test", count)
    shown: dict[str, Any] = {}
    for title, settings in (("best", (base["best"], sharpened["best"])), ("guidance_1", (GRID[0], GRID[0]))):
        before, after = (
            found["test"][str(Setting(*setting))] for found, setting in zip((base, sharpened), settings, strict=True)
        )
        sides = [asdict(bootstrap(side, texts)) for side in (before, after)]
        gain = asdict(paired_gain(before, after, texts))
        named = dict(zip(("base", "sharpened", "gain"), (*sides, gain), strict=True))
        shown[title] = {
            "settings": settings,
            **{key: {k: round(v, 4) for k, v in value.items()} for key, value in named.items()},
        }
    rounded = [{key: round(float(mean), 4) for key, mean in found["validation"].items()} for found in (base, sharpened)]
    return {**shown, "validation": dict(zip(("base", "sharpened"), rounded, strict=True))}


def weights_hash(folder: Path) -> str:
    sha256 = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        sha256.update(path.read_bytes())
    return sha256.hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--base", type=Path, default=BASE)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--reward", choices=("clip", "scene", "shuffled"), default="clip")
    parser.add_argument("--set", nargs="*", default=[], help="fields of the method")
    parser.add_argument("--validation", type=int, default=450)
    parser.add_argument("--test", type=int, default=1482)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = ROOT / "build/experiments" / weights_hash(arguments.base)
    folder.mkdir(parents=True, exist_ok=True)
    job = recipe(arguments)

    base = evaluated(
        load("sd", arguments.base), arguments, folder / f"base-{arguments.validation}-{arguments.test}.json"
    )
    family, started = load("sd", arguments.base), time.process_time()
    adapter, steps = trained(family, reward_named(arguments.reward), job, folder / f"{arguments.name}.checkpoint")
    seconds = time.process_time() - started
    (folder / f"{arguments.name}.safetensors").write_bytes(adapter)
    family.load_adapter("sharpened", adapter)
    family.wear("sharpened")
    sharpened = evaluated(family, arguments, folder / f"{arguments.name}-verdicts.json")
    told = {
        "name": arguments.name,
        "set": arguments.set,
        "steps": job.steps,
        "seed": job.seed,
        "reward": arguments.reward,
        "training": numbers(steps[-1]) if steps else None,
        "cpu_seconds": round(seconds, 1),
        **row(base, sharpened, arguments.test),
    }
    (folder / f"{arguments.name}.json").write_text(json.dumps(told))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
