"""How large everything is: FULL is the comparison, QUICK the same code in minutes. Figures of the two are never mixed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare.methods import ABLATIONS, DEFAULT, TRAJECTORIES, WEAKER
from benchmarks.compare.world import ROOT

Ablation = tuple[str, str]
"""(method, what is changed in it)."""
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Scale:
    """Budgets in fe (forward-equivalents), everything else in pictures or prompts."""

    name: str
    outcomes: Path
    """Where finished tasks leave their JSON: small files that are committed."""
    scratch: Path
    """Where a task keeps what it needs to go on after a stop."""
    results: Path
    """Where results.json, tuning.json and ablations.json go."""
    docs: Path
    """Where comparison.md, failures.md and figures/ are."""
    main: int = 60_000
    long: int = 240_000
    trial: int = 30_000
    """Of a run of the tuning grid, and of an ablation."""
    pace_updates: int = 2
    """Updates of a round when the fe of an update is measured."""
    ablations: tuple[Ablation, ...] = tuple(ABLATIONS)
    at_lower_rate: tuple[Ablation, ...] = WEAKER
    ablation_seed: int = 1
    ablation_skip: int = 200
    ablation_pictures: int = 200
    """Ablations are trained with a seed and judged on validation pictures that a method's values were not chosen on."""
    seeds: tuple[int, ...] = (0, 1, 2)
    rates: tuple[float, ...] = (2e-4, 6e-4, 2e-3, 6e-3)
    beyond: tuple[float, ...] = (2e-5, 6e-5, 2e-2, 6e-2)
    """Rates that are tried where the best run of a grid stands at its edge."""
    knob_values: int = 3
    main_points: tuple[float, ...] = (1 / 12, 1 / 6, 1 / 3, 1 / 2, 3 / 4)
    """Shares of the budget after which a run is looked at, beside its end."""
    long_points: tuple[float, ...] = (1 / 24, 1 / 12, 1 / 6, 1 / 4, 1 / 2, 3 / 4)
    curve_pictures: int = 150
    """Of a look on the way, at each of two settings: one a validation prompt."""
    choice_pictures: int = 200
    """At the end, where the best setting is chosen; curves use the first `curve_pictures` of them."""
    trial_pictures: int = 150
    test_pictures: int = 1482
    search_prompts: int = 256
    search_choice_prompts: int = 64
    """Validation prompts on which the searches' guidance and radius are chosen."""
    pool: int = 128
    sweep_pictures: int = 160
    sweep_steps: tuple[int, ...] = (5, 10, 20, 50)

    @property
    def ladder(self) -> list[float]:
        """Every learning rate that may be tried, ascending."""
        return sorted({*self.rates, *self.beyond})


FULL = Scale(
    name="full", outcomes=HERE / "runs", scratch=ROOT / "build/compare/full", results=HERE, docs=ROOT / "docs",
)  # fmt: skip


def quick(folder: Path = ROOT / "build/compare/quick") -> Scale:
    """A smoke run: its figures say nothing."""
    return Scale(
        name="quick", outcomes=folder / "runs", scratch=folder, results=folder, docs=folder / "docs",
        main=1_500, long=3_000, trial=800, pace_updates=1, ablations=((DEFAULT, "default"), (TRAJECTORIES, "m=1")),
        at_lower_rate=(), ablation_skip=16, ablation_pictures=8, seeds=(0,),
        rates=(2e-3,), beyond=(), knob_values=1, main_points=(1 / 2,),
        long_points=(1 / 4, 1 / 2), curve_pictures=8, choice_pictures=16, trial_pictures=8, test_pictures=24,
        search_prompts=4, search_choice_prompts=2, pool=32, sweep_pictures=16, sweep_steps=(5, 10),
    )  # fmt: skip
