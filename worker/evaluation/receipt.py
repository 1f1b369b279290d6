"""What a receipt says, measured: calls, latency, memory and quality of an adapter beside its base, on the same prompts and seeds.

The work comes in small portions, each handed to `run`, so that an endpoint can draw for others in between:

    pairs of single pictures, base and adapter in turns     → latency
    batches of the same pictures on both sides              → denoiser calls a picture, peak memory, the pictures
    the pictures under the job's reward and a held-out one  → means, gain, win rate, break-even
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from service.domain import prompts as texts
from service.domain.receipts import BreakEven, Calls, Drawing, Judgement, Measured, Memory, Source
from worker.evaluation.break_even import break_even, search_equal
from worker.evaluation.interval import bootstrap, paired_gain
from worker.evaluation.receipt_latency import PAIRS, latency, pair
from worker.evaluation.receipt_memory import kind, watched
from worker.evaluation.receipt_sides import Setting, Side, Sides, counted
from worker.evaluation.score import rewards_of
from worker.rewards.reward import Reward

Result = TypeVar("Result")
SIZES = (8, 4, 2, 1)
"""Pictures in a batch: sizes that a serving engine fills without padding, so that every row that is counted is a picture's."""
PORTION_SECONDS = 6.0
"""Of one batch at most, so that others wait no longer; but one picture is drawn whole, however long it takes."""
SCORED = 64


class Run(Protocol):
    """Do one portion where the models live, nothing else touching them meanwhile; returns what it returns."""

    def __call__(self, work: Callable[[Sides], Result]) -> Result: ...


@dataclass(frozen=True, slots=True)
class Judge:
    """A reward, and the words that name it in a recipe."""

    reward: Reward
    recipe: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judges:
    """The job's reward, and one that the training never saw, or why there is none."""

    job: Judge
    held_out: Judge | None
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to draw and how. Picture i is of prompt i modulo their number, from seeds[i]."""

    prompts: tuple[str, ...]
    prompts_from: Source
    seeds: tuple[int, ...]
    setting: Setting
    scheduler: str
    resolution: int
    training_nfe: int
    training_fe: float
    pairs: int = PAIRS

    @property
    def each(self) -> list[str]:
        """The prompt of each picture."""
        return [self.prompts[place % len(self.prompts)] for place in range(len(self.seeds))]


@dataclass(slots=True)
class _Drawn:
    """One side's pictures so far, the rows that its denoiser saw, and the most memory that was in use for it; beside that
    `slots` bytes lay there which are no part of it."""

    pictures: list[np.ndarray] = field(default_factory=list)
    rows: int = 0
    peak: int | None = None
    slots: int = 0

    def add(self, pictures: np.ndarray, rows: int, peak: int | None, slots: int) -> None:
        self.pictures.append(pictures)
        self.rows += rows
        self.peak = peak if self.peak is None else max(self.peak, peak or 0)
        self.slots = max(self.slots, slots)

    @property
    def all(self) -> np.ndarray:
        return np.concatenate(self.pictures)


def measure(run: Run, plan: Plan, judges: Judges, told: Callable[[float], None] = lambda share: None) -> Measured:
    """`told` hears the share of the batches that is drawn. Raises whatever drawing and scoring raise."""
    pairs = []
    for place in range(1 + plan.pairs):
        row = place % len(plan.seeds)
        pairs.append(run(pair(plan.each[row], plan.seeds[row], plan.setting)))
    batches = split(len(plan.seeds), most=fitting(min(map(max, pairs))))
    base, adapter = _Drawn(), _Drawn()
    for rows in batches:
        base.add(*run(lambda sides, rows=rows: _batch(sides.base, plan, rows)))
        adapter.add(*run(lambda sides, rows=rows: _batch(sides.adapter, plan, rows)))
        told(rows.stop / len(plan.seeds))
    kind_of_memory = run(lambda sides: kind(sides.base.denoiser))
    pictures, held_out = (base.all, adapter.all), judges.held_out
    scores = [_scores(run, judges.job.reward, each, plan.each) for each in pictures]
    others = [_scores(run, held_out.reward, each, plan.each) for each in pictures] if held_out else None
    calls = Calls(
        base=base.rows / len(plan.seeds), adapter=adapter.rows / len(plan.seeds), ratio=adapter.rows / base.rows
    )
    return Measured(
        drawing=_drawing(plan, batches, *pictures),
        calls=calls,
        latency=latency(pairs[1:]),
        reward=_judged(judges.job.recipe, *scores, plan.each),
        held_out=_judged(held_out.recipe, *others, plan.each) if held_out and others else None,
        held_out_missing=judges.missing,
        memory=Memory(base_bytes=base.peak, adapter_bytes=adapter.peak, slots_bytes=base.slots, kind=kind_of_memory),
        break_even=_break_even(plan, calls.base, scores, others),
    )


def fitting(seconds: float) -> int:
    """The largest batch that takes no longer than a portion may, where one picture takes so many seconds: at worst so many
    times as long, and less where small batches leave the device idle."""
    return next((size for size in SIZES if size * seconds <= PORTION_SECONDS), SIZES[-1])


def split(count: int, most: int = SIZES[0]) -> list[slice]:
    """`count` pictures in batches of SIZES up to `most`, the largest first."""
    slices, start = [], 0
    while start < count:
        size = next(size for size in SIZES if size <= min(most, count - start))
        slices.append(slice(start, start + size))
        start += size
    return slices


def _batch(side: Side, plan: Plan, rows: slice) -> tuple[np.ndarray, int, int | None, int]:
    with watched(side.denoiser) as peak, counted(side.denoiser) as seen:
        pictures = side.draw(plan.each[rows], plan.seeds[rows], plan.setting)
    own = None if peak.bytes is None else max(peak.bytes - side.slots_bytes, 0)
    return pictures, seen.seen, own, side.slots_bytes


def _scores(run: Run, reward: Reward, pictures: np.ndarray, each: Sequence[str]) -> np.ndarray:
    """float [B]"""
    parts = [slice(start, start + SCORED) for start in range(0, len(each), SCORED)]
    return np.concatenate(
        [run(lambda sides, part=part: rewards_of(reward, pictures[part], each[part])) for part in parts]
    ).astype(float)


def _judged(recipe: dict[str, Any], base: np.ndarray, adapter: np.ndarray, each: Sequence[str]) -> Judgement:
    gain = paired_gain(base.tolist(), adapter.tolist(), each)
    wins = bootstrap(((adapter > base) + 0.5 * (adapter == base)).tolist(), each)
    return Judgement(
        reward=recipe, base_mean=float(base.mean()), adapter_mean=float(adapter.mean()),
        gain=gain.mean, gain_ci95=(gain.low, gain.high), win_rate=wins.mean, win_rate_ci95=(wins.low, wins.high),
    )  # fmt: skip


def _break_even(
    plan: Plan, calls: float, scores: Sequence[np.ndarray], others: Sequence[np.ndarray] | None
) -> BreakEven:
    """Search picks by the job's reward; it has done as much when its pick reaches the adapter's mean under the held-out
    reward, or, where there is none, under the same."""
    base, adapter = others or scores
    gain, pool = float(adapter.mean() - base.mean()), len(plan.seeds) // len(plan.prompts)
    best, reason = None, None
    if gain <= 0:
        reason = "the adapter gains nothing here, so there is nothing to search for"
    elif pool < 2:
        reason = "one picture of each prompt was drawn: there is nothing to choose from"
    else:
        used = pool * len(plan.prompts)
        by_prompt = [each[:used].reshape(pool, -1).T for each in (base, scores[0])]
        best, _ = search_equal(*by_prompt, float(adapter.mean()))
        if best is None:
            reason = f"the best of {pool} pictures, all that were drawn, is not as good: the base needs more"
    return BreakEven(
        images=break_even(plan.training_fe, best, calls, gain), best_of=best,
        training_nfe=plan.training_nfe, training_fe=plan.training_fe, reason=reason,
    )  # fmt: skip


def _drawing(plan: Plan, batches: Sequence[slice], base: np.ndarray, adapter: np.ndarray) -> Drawing:
    return Drawing(
        prompts_from=plan.prompts_from, prompts_sha256=texts.digest(plan.prompts), prompt_count=len(plan.prompts),
        seeds=plan.seeds, num_inference_steps=plan.setting.steps, guidance_scale=plan.setting.guidance,
        scheduler=plan.scheduler, resolution=plan.resolution,
        batch_sizes=tuple(rows.stop - rows.start for rows in batches),
        base_sha256=_digest(base), adapter_sha256=_digest(adapter),
    )  # fmt: skip


def _digest(pictures: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pictures).tobytes()).hexdigest()
