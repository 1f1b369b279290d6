"""The held-out "human preference": a small Bradley-Terry model of noisy choices between two pictures of a prompt.

    python -m benchmarks.compare.preference        # draws, trains, measures; writes preference/ (about 8 minutes of a core)

Choices are made by the oracle with noise: a is taken before b with probability sigmoid(K * (partial a - partial b)), the
partial score of worker/shapes/oracle.py. Pictures are the base's, at several guidances, of TRAIN prompts only; what is
reported is measured on VALIDATION prompts; test prompts are never seen. The model looks through the frozen CLIP's eyes, as
PickScore and HPS look through larger ones: each word attends to the picture's patches, and the words' votes are averaged.
Beside the CLIP it is the third judge of the comparison, and one more reward that can be trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from benchmarks.compare.eyes import Seen, eyes
from benchmarks.compare.statistics import within
from benchmarks.compare.world import ROOT, Setting, base
from worker.evaluation.draw import draw
from worker.evaluation.score import judge_scenes
from worker.shapes.splits import Split, prompts

FOLDER = Path(__file__).parent / "preference"
WEIGHTS, CARD = FOLDER / "weights.safetensors", FOLDER / "card.json"
DRAWN = ROOT / "build/compare/preference"
K = 10.0
"""How sharply the choosers see: one wrong fact of six is noticed in 84 % of choices."""
SETTINGS = (Setting(1.0, 10),) * 6 + (Setting(1.0, 20),) * 2 + (Setting(2.0, 10),) * 4 + (Setting(5.0, 10),) * 4
"""Of the 16 pictures of a prompt."""
TRAIN_PROMPTS, HELD_OUT_PROMPTS = 400, 60
STEPS, PROMPTS_PER_STEP, RATE, SEED = 1_500, 12, 2e-3, 0
WIDTH = 64


class Preference(nn.Module):
    """u(picture, prompt), 37,377 parameters; only differences within a prompt mean anything."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.word, self.patch = nn.Linear(96, WIDTH), nn.Linear(96, WIDTH)
        self.vote = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1))

    def forward(self, patches: Tensor, states: Tensor, words: Tensor) -> Tensor:
        """patches [B, 65, 96], states [B, 12, 96], words bool [B, 12] → [B]"""
        asked, shown = self.word(states), self.patch(patches)
        found, _ = self.look(asked, shown, shown, need_weights=False)
        votes = self.vote(torch.cat([asked, found], -1)).squeeze(-1)
        return (votes * words).sum(-1) / words.sum(-1)

    @torch.no_grad()
    def score(self, seen: Seen, texts: Sequence[str]) -> Tensor:
        """float32 [B]"""
        said = [eyes().said(text) for text in texts]
        return self(seen.patches, torch.stack([one.states for one in said]), torch.stack([one.words for one in said]))


class PreferenceReward:
    """The model as a reward: see `worker/rewards/reward.py`."""

    def __call__(self, pictures: Tensor, texts: Sequence[str]) -> Tensor:
        return trained().score(eyes().see(pictures), texts)


@cache
def trained() -> Preference:
    """The committed weights."""
    model = Preference().eval().requires_grad_(False)
    model.load_state_dict({name: value.float() for name, value in safetensors.torch.load_file(WEIGHTS).items()})
    return model


# How it is made


def drawn(split: Split, count: int) -> tuple[list[str], np.ndarray]:
    """The first `count` prompts of a split and 16 pictures of each, uint8 [count, 16, 64, 64, 3]; kept, so that a stop costs little."""
    texts, parts, size = prompts(split)[:count], [], 40
    DRAWN.mkdir(parents=True, exist_ok=True)
    for start in range(0, count, size):
        kept = DRAWN / f"{split}-{start}.npy"
        if not kept.exists():
            some = texts[start : start + size]
            columns = [
                draw(base_model(), some, [10_000_000 + 100 * (start + row) + place for row in range(len(some))],
                     guidance=setting.guidance, steps=setting.steps).pictures
                for place, setting in enumerate(SETTINGS)
            ]  # fmt: skip
            np.save(kept, np.stack(columns, axis=1))
            print(f"{split}: {start + len(some)} of {count} prompts drawn", flush=True)
        parts.append(np.load(kept))
    return texts, np.concatenate(parts)


@cache
def base_model() -> Any:
    return base()


def judged(texts: Sequence[str], pictures: np.ndarray) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
    """Patches [P, 16, 65, 96], the CLIP's score, the oracle's partial score, and exact: each [P, 16]."""
    count = pictures.shape[1]
    flat, repeated = pictures.reshape(-1, *pictures.shape[2:]), [text for text in texts for _ in range(count)]
    seen, scores = eyes().see(flat), judge_scenes(flat, repeated)
    shape = (len(texts), count)
    return (
        seen.patches.view(*shape, *seen.patches.shape[1:]),
        eyes().scores(seen, repeated).view(shape),
        torch.from_numpy(scores.partial).float().view(shape),
        scores.exact.reshape(shape),
    )


def train(texts: Sequence[str], patches: Tensor, partial: Tensor) -> Preference:
    """−log sigmoid(u(taken) − u(left)) over all pairs of a prompt's pictures, the choices drawn anew at each step."""
    torch.manual_seed(SEED)
    model = Preference().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    said = [eyes().said(text) for text in texts]
    states, words = torch.stack([one.states for one in said]), torch.stack([one.words for one in said])
    a, b = torch.triu_indices(patches.shape[1], patches.shape[1], 1)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 100, 2 * (STEPS - step) / STEPS)
        rows = torch.randperm(len(texts))[:PROMPTS_PER_STEP]
        repeated = rows.repeat_interleave(patches.shape[1])
        utility = model(patches[rows].flatten(0, 1), states[repeated], words[repeated]).view(len(rows), -1)
        gap, lead = partial[rows][:, a] - partial[rows][:, b], utility[:, a] - utility[:, b]
        taken = torch.rand(gap.shape) < torch.sigmoid(K * gap)
        loss = -logsigmoid(torch.where(taken, lead, -lead)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % 250 == 0:
            print(f"step {step + 1} of {STEPS}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def measured(model: Preference, texts: Sequence[str], pictures: np.ndarray) -> dict[str, Any]:
    """Correlations within a prompt, and how often two pictures that differ for the oracle are put in its order."""
    patches, clip, partial, exact = judged(texts, pictures)
    rows = [Seen(clip[row], patches[row]) for row in range(len(texts))]
    liked = torch.stack([model.score(row, [text] * len(row.patches)) for row, text in zip(rows, texts, strict=True)])
    first, second = torch.triu_indices(partial.shape[1], partial.shape[1], 1)

    def agreement(score: Tensor) -> float:
        gap = partial[:, first] - partial[:, second]
        told = (score[:, first] - score[:, second]).sign() == gap.sign()
        return told[gap.abs() > 1e-3].float().mean().item()

    pairs = {"preference": liked, "clip": clip}
    return {
        "prompts": len(texts),
        "pictures_of_a_prompt": partial.shape[1],
        **{
            f"{name}_{what}": round(value, 4)
            for name, score in pairs.items()
            for what, value in (
                ("correlation_with_exact", within(score.numpy(), exact)),
                ("correlation_with_partial", within(score.numpy(), partial.numpy())),
                ("agreement_with_partial", agreement(score)),
            )
        },
        "preference_correlation_with_clip": round(within(liked.numpy(), clip.numpy()), 4),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    texts, pictures = drawn("train", TRAIN_PROMPTS)
    patches, _, partial, _ = judged(texts, pictures)
    model = train(texts, patches, partial)
    FOLDER.mkdir(exist_ok=True)
    half = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    WEIGHTS.write_bytes(safetensors.torch.save(half, metadata={"format": "pt"}))
    trained.cache_clear()  # what is measured is what was written
    held_out = measured(trained(), *drawn("validation", HELD_OUT_PROMPTS))
    card = {
        "command": "python -m benchmarks.compare.preference",
        "k": K,
        "train_prompts": TRAIN_PROMPTS,
        "pictures_of_a_prompt": len(SETTINGS),
        "settings": sorted({str(setting) for setting in SETTINGS}),
        "steps": STEPS,
        "parameters": sum(value.numel() for value in model.parameters()),
        "held_out": held_out,
        "core_seconds_of_last_run": round(time.process_time() - started),
        "weights_sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
    }
    CARD.write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card, indent=1))


if __name__ == "__main__":
    main()
