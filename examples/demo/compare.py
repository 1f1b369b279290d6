"""Base against sharpened: each at its own best setting, chosen on validation prompts, then both on the test prompts.

Pictures are paired: the same prompts and seeds on both sides. The base's side starts at once and fills the training's
time; what it draws beyond the test pictures is the pool of best-of-N search.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from rich.console import Console

from examples.demo.measure import GRID, Judged, Setting, Wanted, judge, pool
from examples.demo.statistics import share
from worker.evaluation.break_even import break_even, search_equal
from worker.shapes.splits import prompts

ROUNDS = 3
"""Test pictures of each prompt: 494 prompts × 3 = 1,482 pictures a side, each from a seed of its own.

One seed for all prompts would not do: of the base, 44 % are right from seed 0 and 68 % from seed 1, since the noise
decides the layout. An interval over prompts does not see that; with a seed for each picture it does.
"""
POOL_AT_LEAST, POOL = 4, 16
"""Pictures of a prompt that the base draws for best-of-N search, test pictures first, as far as the training's time lasts."""
VALIDATION_ROUNDS, VALIDATION_SEED = 2, 10_000


def _validation(adapter: Path | None, setting: Setting) -> Wanted:
    chosen = prompts("validation") * VALIDATION_ROUNDS
    return Wanted(adapter, tuple(chosen), tuple(range(VALIDATION_SEED, VALIDATION_SEED + len(chosen))), setting)


def _test(adapter: Path | None, setting: Setting, round: int) -> Wanted:
    """One picture of every test prompt; picture i of all rounds has seed i."""
    chosen = prompts("test")
    return Wanted(adapter, tuple(chosen), tuple(range(round * len(chosen), (round + 1) * len(chosen))), setting)


def _best(grid: dict[Setting, float]) -> Setting:
    return max(grid, key=lambda setting: grid[setting])


class BaseSide:
    """Draws in a process of its own from the moment it is entered until `finish`."""

    def __enter__(self) -> "BaseSide":
        self._enough = Event()
        self._process, self._thread = pool(1), ThreadPoolExecutor(1)
        self._drawn = self._thread.submit(self._draw)
        return self

    def _draw(self) -> tuple[dict[Setting, float], list[Judged]]:
        grid = {setting: float(self._judge(_validation(None, setting)).exact.mean()) for setting in GRID}
        rounds: list[Judged] = []
        while len(rounds) < POOL_AT_LEAST or (len(rounds) < POOL and not self._enough.is_set()):
            rounds.append(self._judge(_test(None, _best(grid), round=len(rounds))))
        return grid, rounds

    def _judge(self, wanted: Wanted) -> Judged:
        return self._process.submit(judge, wanted).result()

    def finish(self) -> tuple[dict[Setting, float], list[Judged]]:
        """Accuracy of each setting on the validation prompts; the rounds at the best one, no more than needed from now on."""
        self._enough.set()
        return self._drawn.result()

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._process.shutdown(wait=True, cancel_futures=True)
        self._thread.shutdown(wait=True)


def compare(base_side: BaseSide, adapter: Path, console: Console) -> dict[str, Any]:
    """The report without what only the job knows; `break_even` is left open for the cost of the training."""
    with pool(2) as workers, console.status("judging the sharpened model: validation grid, then the test pictures"):
        tried = {setting: workers.submit(judge, _validation(adapter, setting)) for setting in GRID}
        base_grid, rounds = base_side.finish()
        grid = {setting: float(future.result().exact.mean()) for setting, future in tried.items()}
        best = _best(grid)
        tests = [workers.submit(judge, _test(adapter, best, round)) for round in range(ROUNDS)]
        sharpened = [future.result() for future in tests]

    test = prompts("test")
    pool_exact, pool_reward = _columns(rounds)
    exact, _ = _columns(sharpened)
    gain = share(exact - pool_exact[:, :ROUNDS], test)
    n, curve = search_equal(pool_exact, pool_reward, float(exact.mean()))
    n = n if gain.mean > 0 else None
    nfe = sharpened[0].nfe
    return {
        "base": _row(rounds[:ROUNDS], _best(base_grid), test), "sharpened": _row(sharpened, best, test),
        "gain_exact": gain.mean, "gain_exact_ci95": [gain.low, gain.high],
        "best_of_n": n, "best_of_n_curve": curve,
        "break_even": lambda training_fe: break_even(training_fe, n, nfe, gain.mean),
        "validation": {"base": _named(base_grid), "sharpened": _named(grid)},
        "prompts": list(test) * ROUNDS, "seeds": list(range(ROUNDS * len(test))),
    }  # fmt: skip


def _columns(rounds: list[Judged]) -> tuple[np.ndarray, np.ndarray]:
    """Exact and reward as [prompts, pictures of a prompt]."""
    return np.stack([r.exact for r in rounds], axis=1), np.stack([r.reward for r in rounds], axis=1)


def _row(rounds: list[Judged], setting: Setting, prompts: Sequence[str]) -> dict[str, Any]:
    exact, reward = _columns(rounds)
    found = share(exact, prompts)
    return {
        "exact": found.mean, "exact_ci95": [found.low, found.high], "reward": float(reward.mean()),
        "guidance": setting.guidance, "num_inference_steps": setting.steps, "nfe": rounds[0].nfe,
    }  # fmt: skip


def _named(grid: dict[Setting, float]) -> dict[str, float]:
    return {f"guidance {setting.guidance:g}, {setting.steps} steps": value for setting, value in grid.items()}
