"""Which states of a trajectory tell what the last one does not? Rules of selection, judged against the oracle.

    python -m benchmarks.compare.states

Candidates as they are drawn in training (guidance 1, 8 steps), of train prompts, by the base and by sharpening-rlhf's first adapter. Each
is scored by the CLIP at every state of its rollout, and again from re-noisings at several levels, walked to the end: the first
preview of a walk is one Tweedie step, its last the ODE solve that the paper writes as c(x_t). A rule is a sum of some of these. It is
judged by its correlation with the oracle within a prompt, and by how often its best and its worst of 8 are exactly right: pairs are
made of these. Learned weights (ridge, fitted on the other half of the prompts, on what each column says beyond its prompt's mean) bound
what any weights over states, control variates among them, could add.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.compare.methods import TRAJECTORIES
from benchmarks.compare.page import table
from benchmarks.compare.results import write_lines
from benchmarks.compare.rewards import reward_named
from benchmarks.compare.rows import Row, adapter_path
from benchmarks.compare.scale import FULL
from benchmarks.compare.statistics import within
from benchmarks.compare.world import base
from worker.evaluation.interval import bootstrap
from worker.evaluation.score import judge_scenes
from worker.models.family import Family
from worker.shapes.splits import prompts
from worker.sharpening.rollout import candidate_seeds, search
from worker.sharpening.trajectory import walk_from
from worker.sharpening.world import Settings, World
from worker.training.world import world_of

PROMPTS, CANDIDATES, STEPS, GROUP = 96, 16, 8, 8
LEVELS, NOISES = (1, 2, 4, 6), 2
"""Places of the schedule of 8 at which pictures are noised again, and how often."""
SEED, RIDGE = 7_000, 3.0


def main() -> None:
    family = base()
    found = list(study(family, "base"))
    adapter = adapter_path(FULL, Row(TRAJECTORIES, "clip", False, 0).name, True)
    if adapter.exists():
        family.load_adapter("sharpened", adapter.read_bytes())
        family.wear("sharpened")
        found += study(family, "sharpened")
    write_lines(FULL.results / "states.json", found)
    print("\n".join(table(cells(found))))


def study(family: Family, policy: str) -> Iterator[dict[str, object]]:
    """One entry a rule."""
    texts = prompts("train")[:PROMPTS]
    settings = Settings(seed=SEED, micro_batch=64, candidates=CANDIDATES, rollout_steps=STEPS, rollout_guidance=1.0)
    world = world_of(family, reward_named("clip"), {}, texts)
    drawn = search(world, settings, candidate_seeds(settings, 0, PROMPTS), judged=STEPS)
    walks = {level: walked(world, settings, drawn.clean, level) for level in LEVELS}
    pictures = torch.cat([family.decode(rows) for rows in drawn.clean.flatten(0, 1).split(64)]).numpy()
    verdict = judge_scenes(pictures, [text for text in texts for _ in range(CANDIDATES)])
    exact, partial = (part.reshape(PROMPTS, CANDIDATES) for part in (verdict.exact, verdict.partial))
    for rule, scores in rules(drawn.rewards.numpy(), walks, exact).items():
        best, worst = picked(scores, exact)
        far = bootstrap((best - worst).ravel().tolist(), [text for text in texts for _ in range(CANDIDATES // GROUP)])
        yield {
            "policy": policy, "rule": rule, "exact": round(float(exact.mean()), 4),
            "with_exact": round(within(scores, exact), 4), "with_score": round(within(scores, partial), 4),
            "best": round(float(best.mean()), 4), "worst": round(float(worst.mean()), 4),
            "gap_ci95": [round(far.low, 4), round(far.high, 4)],
        }  # fmt: skip


def walked(world: World, settings: Settings, clean: torch.Tensor, level: int) -> np.ndarray:
    """R at each state of the walks from there to the end, the mean over the noises, which a prompt's candidates share: [P, n, 8 − level]"""
    count, n = clean.shape[:2]
    walk = replace(settings, walk_steps=STEPS, trajectory_length=STEPS - level)
    rows = torch.arange(count).repeat_interleave(n)
    found = []
    for number in range(NOISES):
        source = torch.Generator().manual_seed(SEED + 100 * level + number)
        noise = torch.randn((count, *clean.shape[2:]), generator=source)[rows]
        index = torch.full((count * n,), level)
        found.append(walk_from(world, walk, clean.flatten(0, 1), noise, index, rows).rewards.view(count, n, -1))
    return torch.stack(found).mean(dim=0).numpy()


def rules(states: np.ndarray, walks: Mapping[int, np.ndarray], exact: np.ndarray) -> dict[str, np.ndarray]:
    """Scores [P, n] by the rule's name."""
    last = states[..., -1]
    found = {"the picture alone": last}
    found |= {f"state {place + 1} alone": states[..., place] for place in range(STEPS - 1)}
    found |= {f"sum of the last {m} states": states[..., -m:].sum(-1) for m in (2, 3, 5, STEPS)}
    for level, walk in walks.items():
        noised = f"noised again to step {level}"
        found |= {
            f"{noised}: one Tweedie step": walk[..., 0],
            f"{noised}: sum of up to 3 states": walk[..., :3].sum(-1),
            f"{noised}: solved to the end": walk[..., -1],
            f"the picture + {noised}, solved": last + walk[..., -1],
        }
    solved = np.stack([walk[..., -1] for walk in walks.values()], axis=-1)
    found["learned weights: last two states"] = learned(states[..., -2:], exact)
    found["learned weights: all states"] = learned(states, exact)
    found["learned weights: the picture, solved"] = learned(np.concatenate([states[..., -1:], solved], -1), exact)
    found["learned weights: everything"] = learned(np.concatenate([states, *walks.values()], -1), exact)
    return found


def learned(columns: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Ridge on [P, n, k], within prompts; each half of the prompts is scored by the weights of the other. [P, n]"""
    x, y = columns - columns.mean(1, keepdims=True), exact - exact.mean(1, keepdims=True)
    scores, half = np.empty(exact.shape), np.arange(len(x)) % 2
    for part in (0, 1):
        fit, rest = half != part, half == part
        a, b = x[fit].reshape(-1, x.shape[-1]), y[fit].ravel()
        scores[rest] = x[rest] @ np.linalg.solve(a.T @ a + RIDGE * np.eye(a.shape[1]), a.T @ b)
    return scores


def picked(scores: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact of the best and of the worst of each group of 8: two of [P, n / 8]"""
    scores, exact = (array.reshape(len(array), -1, GROUP) for array in (scores, exact))
    return tuple(  # type: ignore[return-value]
        np.take_along_axis(exact, choose(scores, axis=-1)[..., None], -1)[..., 0] for choose in (np.argmax, np.argmin)
    )


def cells(found: list[dict[str, object]]) -> Iterator[list[str]]:
    yield [
        "policy",
        "rule",
        "correlation with exact",
        "with the oracle's score",
        "best of 8 exact",
        "worst of 8",
        "gap (95 %)",
    ]
    for one in found:
        low, high = one["gap_ci95"]  # type: ignore[misc]
        yield [str(one[key]) for key in ("policy", "rule", "with_exact", "with_score", "best", "worst")] + [
            f"{low:.3f} to {high:.3f}"
        ]


if __name__ == "__main__":
    main()
