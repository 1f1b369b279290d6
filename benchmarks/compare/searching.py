"""The search rows: best-of-N from one pool of pictures (nested), zero-order and path search, all under the CLIP, on test prompts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare.judging import Verdicts, drawn, told, verdicts
from benchmarks.compare.rewards import reward_named
from benchmarks.compare.scale import Scale
from benchmarks.compare.store import mine
from benchmarks.compare.world import GRID, Setting, base
from worker.evaluation.search import Ask, best_of, path_search, zero_order
from worker.shapes.splits import Split, prompts

Say = Callable[[str], None]
CHUNK = 8
"""Prompts of which a pool is drawn between two savings."""
CANDIDATES, ROUNDS, RADII = 8, 4, (0.3, 0.6)
"""Of zero-order search: 32 pictures, as many calls as best-of-32."""
PATHS, BRANCHES = 4, 5
"""Of path search; with the walk of `path_steps` about as many calls again."""
SEED = 500_000
"""First seed of a pool: no other picture of the comparison has one near it."""


def choice(scale: Scale, scratch: Path, say: Say) -> dict[str, Any]:
    """On validation prompts: the setting at which best-of-8 is best, and there the radius of zero-order search."""
    family, count = base(), scale.search_choice_prompts
    by_setting: dict[str, float] = {}
    for setting in GRID:
        found, texts, _ = pictures_of_prompts(family, "validation", range(count), 8, setting)
        places = best_of(found.clip.reshape(count, 8), 8) + 8 * np.arange(count)[:, None]
        by_setting[str(setting)] = float(found.exact[places.ravel()].mean())
        say(f"best-of-8 on validation at {setting}: {by_setting[str(setting)]:.3f}")
    best = max(GRID, key=lambda setting: by_setting[str(setting)])
    texts, reward = prompts("validation")[: max(1, count // 2)], reward_named("clip")
    by_radius = {}
    for radius in RADII:
        ask = Ask(family, reward, texts, [SEED + row for row in range(len(texts))], best.guidance, best.steps)
        pictures = zero_order(ask, candidates=CANDIDATES, rounds=ROUNDS, radius=radius).pictures
        by_radius[str(radius)] = float(verdicts(pictures, texts).exact.mean())
    radius = max(RADII, key=lambda value: by_radius[str(value)])
    return {"setting": list(best), "radius": radius, "best_of_8": by_setting, "zero_order": by_radius}


def pool(scale: Scale, setting: Setting, scratch: Path, say: Say) -> dict[str, Any]:
    """`pool` pictures of each prompt, judged; best-of-N for every power of two."""
    mine(scratch, {"setting": list(setting), "pool": scale.pool})
    family, parts, nfe, seconds = None, [], setting.nfe, 0.0
    for start in range(0, scale.search_prompts, CHUNK):
        path = scratch / f"{start}.npz"
        if not path.exists():
            family, started = family or base(), time.process_time()
            rows = range(start, min(start + CHUNK, scale.search_prompts))
            found, _, nfe = pictures_of_prompts(family, "test", rows, scale.pool, setting)
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_suffix(".new.npz")
            columns = {name: getattr(found, name) for name in Verdicts.__slots__}
            np.savez(new, seconds=time.process_time() - started, nfe=nfe, **columns)
            new.replace(path)
            say(f"pool at {setting}: {rows.stop} of {scale.search_prompts} prompts")
        with np.load(path) as kept:
            parts.append([kept[name] for name in Verdicts.__slots__])
            seconds, nfe = seconds + float(kept["seconds"]), int(kept["nfe"])
    found = Verdicts(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    texts, sizes = prompts("test")[: scale.search_prompts], [1]
    while 2 * sizes[-1] <= scale.pool:
        sizes.append(2 * sizes[-1])
    return {
        "setting": list(setting),
        "seconds": round(seconds, 1),
        "best_of": {str(n): chosen(found, texts, scale.pool, n, nfe) for n in sizes},
    }


def chosen(found: Verdicts, texts: list[str], size: int, n: int, nfe: int) -> dict[str, Any]:
    """The figures of best-of-n: every run of n pictures of the pool chooses one."""
    places = best_of(found.clip.reshape(len(texts), size), n)
    rows = (places + size * np.arange(len(texts))[:, None]).ravel()
    repeated = [text for text in texts for _ in range(places.shape[1])]
    figures = told(found[rows], repeated)
    by_prompt = found.exact[rows].reshape(places.shape).mean(axis=1)
    del figures["clip"], figures["bits"]
    return {**figures, "nfe": n * nfe, "by_prompt": [round(float(value), 4) for value in by_prompt]}


def pictures_of_prompts(
    family: Any, split: Split, rows: range, each: int, setting: Setting
) -> tuple[Verdicts, list[str], int]:
    """`each` pictures of the prompts at these places, from seeds of their own: (verdicts, a prompt a picture, NFE of one)"""
    texts = [prompts(split)[row] for row in rows for _ in range(each)]
    seeds = [SEED + 1_000 * row + place for row in rows for place in range(each)]
    pictures, nfe = drawn(family, texts, seeds, setting)
    return verdicts(pictures, texts), texts, nfe


def guided(scale: Scale, kind: str, setting: Setting, radius: float, say: Say) -> dict[str, Any]:
    """zero-order or path search at one setting: one picture a prompt."""
    family, reward, texts = base(), reward_named("clip"), prompts("test")[: scale.search_prompts]
    pictures, nfe, started, size = [], 0, time.process_time(), 4 * CHUNK
    for start in range(0, len(texts), size):
        some = texts[start : start + size]
        ask = Ask(
            family, reward, some, [SEED + start + row for row in range(len(some))], setting.guidance, setting.steps
        )
        found = (
            zero_order(ask, candidates=CANDIDATES, rounds=ROUNDS, radius=radius)
            if kind == "zero-order"
            else path_search(ask, paths=PATHS, branches=BRANCHES, **path_steps(setting))
        )
        pictures.append(found.pictures)
        nfe = found.nfe
        say(f"{kind} at {setting}: {start + len(some)} of {len(texts)} prompts")
    figures = told(verdicts(np.concatenate(pictures), texts), texts)
    return {
        "setting": list(setting),
        "seconds": round(time.process_time() - started, 1),
        "figures": {**figures, "nfe": nfe},
    }


def path_steps(setting: Setting) -> dict[str, int]:
    """Of 20 steps: begin after 4, go back 2, ahead 4; of 10: 2, 1, 2. The layout is decided early: so begins the search."""
    return {
        "start": max(1, setting.steps // 5),
        "back": max(1, setting.steps // 10),
        "ahead": max(2, setting.steps // 5),
    }
