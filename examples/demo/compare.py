"""Base against sharpened: each at its own best setting, chosen on validation prompts, then both on the test prompts.

Pictures are paired: the same prompts and seeds on both sides. The base's side starts at once and fills the training's
time; what it draws beyond the test pictures is the pool of best-of-N search.
"""

from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from examples.demo.measure import GRID, Judged, Setting, Wanted, judge, pool
from examples.demo.statistics import break_even, paired_gain, search_equal, share
from worker.shapes.splits import prompts

VALIDATION, TEST = 256, 512
SEEDS = (0, 1)
"""Test pictures of each prompt: 512 prompts × 2 seeds = 1,024 pictures a side."""
POOL = 16
"""Pictures of a prompt that the base draws at most for best-of-N; at least 4."""
POOL_AT_LEAST = 4


def _some(split: str, count: int) -> tuple[str, ...]:
    every = prompts(split)
    return tuple(every[i] for i in np.random.default_rng(0).permutation(len(every))[:count])


def _validation(adapter: Path | None, setting: Setting) -> Wanted:
    chosen = _some("validation", VALIDATION)
    return Wanted(adapter, chosen, (10_000,) * len(chosen), setting)


def _test(adapter: Path | None, setting: Setting, seed: int) -> Wanted:
    chosen = _some("test", TEST)
    return Wanted(adapter, chosen, (seed,) * len(chosen), setting)


def _best(grid: dict[Setting, float]) -> Setting:
    return max(grid, key=lambda setting: grid[setting])


class BaseSide:
    """Draws in a process of its own from the moment it is entered until `finish`."""

    def __enter__(self) -> "BaseSide":
        self._pool = pool(1)
        self._grid = {setting: self._pool.submit(judge, _validation(None, setting)) for setting in GRID}
        self._rounds: list[Future[Judged]] = []
        last = self._grid[GRID[-1]]
        last.add_done_callback(self._draw_rounds)
        return self

    def _draw_rounds(self, _: Future[Judged]) -> None:
        if not any(future.cancelled() or future.exception() for future in self._grid.values()):
            self._rounds = [self._pool.submit(judge, _test(None, self.best, seed)) for seed in range(POOL)]

    @property
    def grid(self) -> dict[Setting, float]:
        return {setting: float(future.result().exact.mean()) for setting, future in self._grid.items()}

    @property
    def best(self) -> Setting:
        return _best(self.grid)

    def finish(self) -> list[Judged]:
        """What was drawn, at least POOL_AT_LEAST rounds of it; further rounds that have not begun are dropped."""
        _ = self.best
        for later in reversed(self._rounds[POOL_AT_LEAST:]):
            later.cancel()
        return [future.result() for future in self._rounds if not future.cancelled()]

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def compare(base_side: BaseSide, adapter: Path, console: Console) -> dict[str, Any]:
    """The report without what only the job knows; `break_even` is left open for the cost of the training."""
    with console.status("drawing the base's last pictures"):
        rounds = base_side.finish()
    with pool(2) as workers, console.status("judging the sharpened model: validation grid, then the test pictures"):
        tried = {setting: workers.submit(judge, _validation(adapter, setting)) for setting in GRID}
        grid = {setting: float(future.result().exact.mean()) for setting, future in tried.items()}
        best = _best(grid)
        tests = [workers.submit(judge, _test(adapter, best, seed)) for seed in SEEDS]
        sharpened = [future.result() for future in tests]

    before, after = rounds[: len(SEEDS)], sharpened
    base_exact, base_reward = _columns(rounds)
    exact, _ = _columns(after)
    gain = float(exact.mean() - base_exact[:, : len(SEEDS)].mean())
    n, curve = search_equal(base_exact, base_reward, float(exact.mean()))
    nfe = after[0].nfe
    return {
        "base": _row(before, base_side.best), "sharpened": _row(after, best), "gain_exact": gain,
        "gain_exact_ci95": paired_gain(exact, base_exact[:, : len(SEEDS)]),
        "best_of_n": n if gain > 0 else None, "best_of_n_curve": curve,
        "break_even": partial(_break_even, n, nfe, gain),
        "validation": {"base": _named(base_side.grid), "sharpened": _named(grid)},
        "prompts": list(_some("test", TEST)), "seeds": list(SEEDS),
    }  # fmt: skip


def _break_even(n: int | None, nfe: int, gain: float, training_fe: float) -> int | None:
    return break_even(training_fe, n, nfe, gain)


def _columns(rounds: list[Judged]) -> tuple[np.ndarray, np.ndarray]:
    """Exact and reward as [prompts, pictures of a prompt]."""
    return np.stack([r.exact for r in rounds], axis=1), np.stack([r.reward for r in rounds], axis=1)


def _row(rounds: list[Judged], setting: Setting) -> dict[str, Any]:
    exact, reward = _columns(rounds)
    return {
        "exact": float(exact.mean()), "exact_ci95": share(exact), "reward": float(reward.mean()),
        "guidance": setting.guidance, "num_inference_steps": setting.steps, "nfe": rounds[0].nfe,
    }  # fmt: skip


def _named(grid: dict[Setting, float]) -> dict[str, float]:
    return {f"guidance {setting.guidance:g}, {setting.steps} steps": value for setting, value in grid.items()}
