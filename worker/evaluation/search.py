"""Inference-time search under a reward (arXiv 2501.09732): better pictures for more denoiser calls, without training.

Three searches over the starting noise or the path, for a whole list of prompts at once; calls are counted by the family's hooks:
  best-of-N   the picture that scores best among N from fresh noises
  zero-order  the best noise's neighbours are drawn, the best of them is the next pivot, and so on       (their §3.2)
  path        N half-way states are noised back a little, walked on, and the best N kept, to the end     (their §3.2)
Rows of one prompt never meet another's. The paper fixes no numbers that hold for every model: all are arguments here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.evaluation.draw import noise
from worker.models.family import Conditions, Family
from worker.rewards.reward import Reward
from worker.sharpening.rng import generator, key

BATCH = 64


@dataclass(frozen=True, slots=True)
class Found:
    """One picture a prompt: uint8 [P, H, W, 3], its reward [P]; nfe is what one of them cost, counted."""

    pictures: np.ndarray
    rewards: np.ndarray
    nfe: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Who is asked: a model, a judge, P prompts, a seed for each, and how a picture is drawn."""

    family: Family
    reward: Reward
    prompts: Sequence[str]
    seeds: Sequence[int]
    guidance: float = 1.0
    steps: int = 20


def best_of(rewards: np.ndarray, n: int) -> np.ndarray:
    """Places of the best in each run of n columns of rewards [P, M]: int [P, M // n]. So best-of-8 is nested in best-of-32."""
    prompts, size = rewards.shape
    groups = rewards[:, : size // n * n].reshape(prompts, -1, n)
    return groups.argmax(axis=2) + n * np.arange(groups.shape[1])


@torch.no_grad()
def zero_order(ask: Ask, *, candidates: int = 8, rounds: int = 4, radius: float = 0.5) -> Found:
    """Round 1 draws `candidates` fresh noises; each later round as many neighbours of the best noise so far.

    A neighbour is √(1 − r²)·pivot + r·z: as probable as the pivot, and at an angle whose sine is the radius r.
    """
    before = ask.family.counter.total
    count, shape = len(ask.prompts), (len(ask.prompts), candidates, *ask.family.latent_shape)
    places = torch.arange(count).repeat_interleave(candidates)
    pivot, best, pictures = torch.empty(0), torch.full((count,), -torch.inf), torch.empty(0)
    for turn in range(rounds):
        latents = fresh(ask, candidates, turn).view(shape)
        if turn:
            latents = (1 - radius**2) ** 0.5 * pivot.unsqueeze(1) + radius * latents
        drawn, scores = draw_and_score(ask, latents.flatten(0, 1), places)
        top = scores.view(count, candidates).max(dim=1)
        chosen = torch.arange(count) * candidates + top.indices
        if not turn:
            pivot, pictures = latents.flatten(0, 1)[chosen], drawn[chosen]
        better = (top.values > best).view(-1, 1, 1, 1)
        pivot = torch.where(better.to(pivot.device), latents.flatten(0, 1)[chosen], pivot)
        pictures = torch.where(better, drawn[chosen], pictures)
        best = torch.maximum(best, top.values)
    spent = ask.family.counter.total - before
    return Found(pictures.numpy(), best.numpy(), spent.nfe // count)


@torch.no_grad()
def path_search(ask: Ask, *, paths: int = 4, branches: int = 5, start: int = 4, back: int = 2, ahead: int = 4) -> Found:
    """`paths` noises walk to state `start`. Then: each state is noised back by `back` steps, `branches` times; all walk
    `ahead` steps; the `paths` of a prompt whose previews score best go on, until the picture is finished.

    The preview is that of the last step taken, so that judging costs no denoiser call. Needs ahead > back, back ≤ start.
    """
    if not 0 < back < ahead or not back <= start < ask.steps:
        raise ValueError(
            f"a path search needs 0 < back ({back}) < ahead ({ahead}) and back ≤ start ({start}) < steps ({ask.steps})"
        )
    before, count = ask.family.counter.total, len(ask.prompts)
    places = torch.arange(count).repeat_interleave(paths)
    states, _ = walk(ask, fresh(ask, paths, 0), places, 0, start)
    index, turn = start, 0
    while True:
        turn += 1
        many, origin = places.repeat_interleave(branches), index - back
        noised = noise_back(ask, states.repeat_interleave(branches, dim=0), index, origin, turn=turn)
        index = min(origin + ahead, ask.steps)
        walked, previews = walk(ask, noised, many, origin, index)
        pictures = torch.cat([ask.family.decode(part) for part in previews.split(BATCH)])
        scores = score(ask, pictures, many).view(count, paths * branches)
        if index == ask.steps:
            break
        kept = (scores.topk(paths, dim=1).indices + paths * branches * torch.arange(count).unsqueeze(1)).flatten()
        states = walked[kept]
    chosen = scores.argmax(dim=1) + paths * branches * torch.arange(count)
    spent = ask.family.counter.total - before
    return Found(pictures[chosen].numpy(), scores.amax(dim=1).numpy(), spent.nfe // count)


def fresh(ask: Ask, each: int, turn: int) -> Tensor:
    """Noise [P·each, C, H, W], every row from a seed of its own."""
    seeds = [key(seed, turn, 0, "search", place) for seed in ask.seeds for place in range(each)]
    return noise(ask.family, seeds)


def draw_and_score(ask: Ask, latents: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures uint8 [B, H, W, 3] of these noises and their rewards [B]; `places` names each row's prompt."""
    _, clean = walk(ask, latents, places, 0, ask.steps)
    pictures = torch.cat([ask.family.decode(part) for part in clean.split(BATCH)])
    return pictures, score(ask, pictures, places)


def score(ask: Ask, pictures: Tensor, places: Tensor) -> Tensor:
    parts = zip(pictures.split(BATCH), places.split(BATCH), strict=True)
    return torch.cat([ask.reward(some, [ask.prompts[place] for place in rows.tolist()]) for some, rows in parts])


def walk(ask: Ask, latents: Tensor, places: Tensor, begin: int, end: int) -> tuple[Tensor, Tensor]:
    """From state `begin` to state `end` of the sampler: (the states there, the previews of the last step)."""
    conditions = ask.family.encode(ask.prompts)
    done = [
        _walk(ask, some, conditions[rows], begin, end)
        for some, rows in zip(latents.split(BATCH), places.split(BATCH), strict=True)
    ]
    states, previews = zip(*done, strict=True)
    return torch.cat(states), torch.cat(previews)


def _walk(ask: Ask, latents: Tensor, conditions: Conditions, begin: int, end: int) -> tuple[Tensor, Tensor]:
    sampler, preview = ask.family.sampler(ask.steps), latents
    for index in range(begin, end):
        prediction = ask.family.predict(latents, sampler.timesteps[index], conditions, ask.guidance)
        latents, preview = sampler.step(prediction, index, latents)
    return latents, preview


def noise_back(ask: Ask, states: Tensor, index: int, origin: int, *, turn: int) -> Tensor:
    """q(x_origin | x_index) for an earlier, noisier origin: (α_o/α_i)·x + √(σ_o² − (α_o/α_i)²·σ_i²)·ε.

    α and σ are read off the family's own forward process (x_t = α·x_0 + σ·ε), so it holds for flow models too.
    """
    timesteps = ask.family.sampler(ask.steps).timesteps
    (signal, spread), (signal_before, spread_before) = (
        levels(ask.family, timesteps[place]) for place in (index, origin)
    )
    ratio = signal_before / signal
    scale = max(0.0, spread_before**2 - (ratio * spread) ** 2) ** 0.5
    rows = [
        torch.randn(ask.family.latent_shape, generator=generator(seed, turn, 0, "noise back", place))
        for seed in ask.seeds
        for place in range(len(states) // len(ask.prompts))
    ]
    return ratio * states + scale * torch.stack(rows).to(states)


def levels(family: Family, t: int) -> tuple[float, float]:
    """(α_t, σ_t)"""
    one, none, when = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.tensor([t])
    return family.renoise(one, none, when).item(), family.renoise(none, one, when).item()
