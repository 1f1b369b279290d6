"""A grid goes on where its best run stands at an edge of the rates, and only there."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare.methods import TRAINED
from benchmarks.compare.scale import Scale, quick
from benchmarks.compare.store import keep
from benchmarks.compare.tasks import every_task
from benchmarks.compare.tuning import grid, trial_name, trials, tuned

METHOD, KNOB = "sharpening-rlhf", "beta"


@pytest.fixture
def scale(tmp_path: Path) -> Scale:
    return replace(quick(tmp_path), rates=(2e-4, 2e-3), beyond=(2e-5, 2e-2, 2e-1), knob_values=2)


def finish(scale: Scale, scores: dict[tuple[float, object], float | None], rest: float = 0.3) -> None:
    """Outcomes for all that `trials` lists now."""
    for name, hyper in trials(scale, METHOD).items():
        keep(scale.outcomes, name, {"score": scores.get((hyper["learning_rate"], hyper[KNOB]), rest)})


class TestTrials:
    def test_are_the_grid_until_it_is_whole(self, scale: Scale) -> None:
        assert trials(scale, METHOD) == grid(scale, METHOD) and tuned(scale, METHOD) is None

    def test_go_on_above_the_largest_rate_with_the_best_runs_knob(self, scale: Scale) -> None:
        knob = TRAINED[METHOD].values[1]
        finish(scale, {(2e-3, knob): 0.6})
        more = trial_name(METHOD, 2e-2, knob)
        assert set(trials(scale, METHOD)) - set(grid(scale, METHOD)) == {more}
        assert tuned(scale, METHOD) is None

    def test_go_on_below_the_smallest(self, scale: Scale) -> None:
        knob = TRAINED[METHOD].values[0]
        finish(scale, {(2e-4, knob): 0.6})
        assert set(trials(scale, METHOD)) - set(grid(scale, METHOD)) == {trial_name(METHOD, 2e-5, knob)}

    def test_end_where_going_on_is_no_better(self, scale: Scale) -> None:
        knob = TRAINED[METHOD].values[0]
        for _ in range(2):
            finish(scale, {(2e-3, knob): 0.6, (2e-2, knob): 0.5})
        assert len(trials(scale, METHOD)) == len(grid(scale, METHOD)) + 1
        assert tuned(scale, METHOD) == {"learning_rate": 2e-3, KNOB: knob}

    def test_end_with_the_last_rate_that_there_is(self, scale: Scale) -> None:
        knob = TRAINED[METHOD].values[0]
        for _ in range(4):
            finish(scale, {(2e-3, knob): 0.6, (2e-2, knob): 0.7, (2e-1, knob): 0.8})
        assert len(trials(scale, METHOD)) == len(grid(scale, METHOD)) + 2
        assert tuned(scale, METHOD) == {"learning_rate": 2e-1, KNOB: knob}

    def test_a_run_that_failed_is_never_the_best(self, scale: Scale) -> None:
        knob = TRAINED[METHOD].values[0]
        for _ in range(2):
            finish(scale, {(2e-3, knob): 0.6, (2e-2, knob): None})
        assert tuned(scale, METHOD) == {"learning_rate": 2e-3, KNOB: knob}

    def test_of_equals_the_larger_rate_is_taken(self, scale: Scale) -> None:
        finish(replace(scale, beyond=()), {})
        assert tuned(replace(scale, beyond=()), METHOD) == {"learning_rate": 2e-3, KNOB: TRAINED[METHOD].values[0]}

    def test_what_goes_on_is_a_task_that_the_rows_need(self, scale: Scale) -> None:
        knob = TRAINED[METHOD].values[0]
        finish(scale, {(2e-3, knob): 0.6})
        more = trial_name(METHOD, 2e-2, knob)
        tasks = {task.name: task for task in every_task(scale)}
        assert more in tasks and more in tasks[f"row-{METHOD}-clip-main-0"].needs
