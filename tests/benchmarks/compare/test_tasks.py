"""The plan is whole, in order, and within its means."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from benchmarks.compare.methods import ABLATIONS, DEFAULT, LONG, ORDER, SEARCHES, SHUFFLED, TRAINED, TRAJECTORIES
from benchmarks.compare.recipes import Run
from benchmarks.compare.rows import Row
from benchmarks.compare.scale import FULL, quick
from benchmarks.compare.tasks import every_task
from benchmarks.compare.tuning import grid, tuned
from benchmarks.compare.world import ROOT
from service.domain.catalogue import Catalogue
from service.domain.methods import METHODS
from service.domain.recipes import JobRequest
from worker.training.methods import method_of

NAMES = [task.name for task in every_task(FULL)]


class TestEveryTask:
    def test_what_a_task_needs_stands_before_it(self) -> None:
        for scale in (FULL, quick()):
            tasks = every_task(scale)
            places = {task.name: place for place, task in enumerate(tasks)}
            assert len(places) == len(tasks)
            assert all(places[need] < place for place, task in enumerate(tasks) for need in task.needs)

    def test_every_row_has_its_task(self) -> None:
        rows = [name for name in ORDER if name not in ("base", *SEARCHES)]
        assert all(any(name.startswith(f"row-{row}-") for name in NAMES) for row in rows)
        assert {"base", "pool-plain", "pool-best", "zero-order-best", "path-search-best"} <= set(NAMES)

    def test_rivals_and_default_have_three_seeds(self) -> None:
        for method in (name for name, one in TRAINED.items() if one.type is not None):
            assert {Row(method, "clip", False, seed).name for seed in (0, 1, 2)} <= set(NAMES)
        for method in LONG:
            assert {Row(method, "clip", True, seed).name for seed in (0, 1, 2)} <= set(NAMES)

    def test_the_default_has_three_seeds_in_everything_that_a_goal_asks_of_it(self) -> None:
        asked = (
            (DEFAULT, "clip", False),
            (DEFAULT, "clip", True),
            (DEFAULT, "scene", False),
            (SHUFFLED, "none", False),
        )
        assert {Row(*one, seed).name for one in asked for seed in (0, 1, 2)} <= set(NAMES)

    def test_the_most_telling_come_first(self) -> None:
        default = NAMES.index(Row(DEFAULT, "clip", False, 0).name)
        rival = NAMES.index(Row("ddpo", "clip", False, 0).name)
        second_seed = NAMES.index(Row(DEFAULT, "clip", False, 1).name)
        ablation = NAMES.index(f"ablation-{DEFAULT}-default-0.006")
        assert NAMES.index("base") < default < ablation < rival < second_seed

    def test_is_planned_for_fifteen_core_hours(self, tmp_path: Path) -> None:
        """As planned before anything was found: a grid that ends too early costs a run or two more."""
        assert sum(task.seconds for task in every_task(replace(FULL, outcomes=tmp_path))) <= 15 * 3600


class TestTuning:
    @pytest.mark.parametrize("method", TRAINED)
    def test_every_method_gets_the_same_grid(self, method: str) -> None:
        tried = grid(FULL, method).values()
        assert len(tried) == 12
        assert {hyper["learning_rate"] for hyper in tried} == set(FULL.rates)
        assert len({hyper[TRAINED[method].knob] for hyper in tried}) == 3


class TestTheService:
    """Its defaults are what the comparison chose."""

    def test_s_default_method_and_its_knob_are_the_default_s_as_tuned(self) -> None:
        body = {"base_model": "shapes", "prompts": ["a"], "reward": {"type": "jpeg-compressibility"}}
        method, chosen = JobRequest.model_validate(body).method, tuned(FULL, DEFAULT)
        assert chosen is not None
        assert (method.type, getattr(method, TRAINED[DEFAULT].knob)) == (DEFAULT, chosen[TRAINED[DEFAULT].knob])

    def test_s_rate_for_shapes_is_the_tuned_one(self) -> None:
        shipped = Catalogue.parse((ROOT / "catalogue.toml").read_text(), root=PurePosixPath("/")).bases["shapes"]
        assert shipped.learning_rate == (tuned(FULL, DEFAULT) or {})["learning_rate"]


class TestRecipes:
    @pytest.mark.parametrize("name", [name for name, one in TRAINED.items() if one.type is not None])
    def test_every_run_of_the_grid_is_a_recipe(self, name: str) -> None:
        for hyper in grid(FULL, name).values():
            method = Run("run", TRAINED[name], "clip", 1000, 0, hyper).recipe(3).method
            assert {field: getattr(method, field) for field in hyper} == hyper

    def test_the_service_s_methods_are_all_compared(self) -> None:
        compared = {one.type for one in TRAINED.values()}
        assert {one.model_fields["type"].annotation.__args__[0] for one in METHODS} <= compared

    @pytest.mark.parametrize(("method", "name"), ABLATIONS)
    def test_every_ablation_is_a_recipe(self, method: str, name: str) -> None:
        change = ABLATIONS[method, name]
        recipe = Run("run", TRAINED[method], "clip", 1000, 0, {"learning_rate": 2e-3, **change}).recipe(3)
        assert {field: getattr(recipe.method, field) for field in change} == change

    def test_one_state_is_what_online_dpo_computes(self) -> None:
        """So the ablation m=1 is the score of the final picture, and needs no run of its own."""
        alone = Run("run", TRAINED[TRAJECTORIES], "clip", 1000, 0, ABLATIONS[TRAJECTORIES, "m=1"]).recipe(3)
        rival = Run("run", TRAINED["online-dpo"], "clip", 1000, 0).recipe(3)
        steps = [method_of(one, (8, 8, 8)) for one in (alone, rival)]
        assert steps[0].func is steps[1].func and steps[0].args == steps[1].args

    def test_ddpo_learns_from_64_pictures_an_update_at_least(self) -> None:
        method = Run("run", TRAINED["ddpo"], "clip", 1000, 0).recipe(3).method
        assert method.prompts_per_step * method.candidates // method.steps_per_batch >= 64

    def test_a_method_that_is_not_there_is_told_of(self) -> None:
        missing = replace(TRAINED["ddpo"], type="no-such-method")
        with pytest.raises(ValueError, match="no-such-method"):
            Run("run", missing, "clip", 1000, 0).recipe(1)
