"""Tables show what there is: failed runs among the seeds, ablations at the better of their rates, costs with their tuning."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare.gains import gain
from benchmarks.compare.results import ablations, rows
from benchmarks.compare.scale import Scale, quick
from benchmarks.compare.store import keep, read
from benchmarks.compare.tables import Cells, ablation_rows, break_even, trained, trajectories, tuning_rows
from tests.benchmarks.compare.hand import PICTURES, Hand

DEFAULT, TRAJECTORIES = "forward-process", "sharpening-rlhf"


@pytest.fixture
def scale(tmp_path: Path) -> Scale:
    """Three seeds, two rates, one of them beyond the grid."""
    return replace(
        quick(tmp_path), seeds=(0, 1, 2), curve_pictures=PICTURES, rates=(2e-3, 6e-3),
        ablations=tuple((TRAJECTORIES, name) for name in ("default", "n=2", "m=1")),
        at_lower_rate=((TRAJECTORIES, "default"), (TRAJECTORIES, "n=2")), ablation_skip=100,
    )  # fmt: skip


@pytest.fixture
def hand(scale: Scale) -> Hand:
    found = Hand(scale)
    found.base(0.3)
    for method, value in ((TRAJECTORIES, "auto"), (DEFAULT, "0.5")):
        for rate, score in ((2e-3, 0.4), (6e-3, 0.5)):
            told = {"method": method, "score": score, "training_fe": 500, "tried": {"learning_rate": rate}}
            keep(scale.outcomes, f"tune-{method}-{rate:g}-{value}", told)
    return found


def line(lines: list[Cells], name: str) -> dict[str, str]:
    """The cells of the line that begins so, by their heading."""
    found = next(cells for cells in lines[1:] if cells[0].startswith(name))
    assert all(len(cells) == len(lines[0]) for cells in lines)
    return dict(zip(lines[0], found, strict=True))


class TestTrained:
    def test_a_failed_seed_stands_among_the_others(self, scale: Scale, hand: Hand) -> None:
        hand.row("ddpo", 0.5)
        hand.failed("ddpo", seed=1)
        assert line(list(trained(scale, "best")), "ddpo")["seeds"] == "0.500; seed 1: failed (nan_loss)"

    def test_a_row_that_only_failed_is_there(self, scale: Scale, hand: Hand) -> None:
        hand.failed("ddpo")
        found = line(list(trained(scale, "plain")), "ddpo")
        assert found["seeds"] == "seed 0: failed (nan_loss)" and found["exact (95 %)"] == ""

    def test_a_row_of_values_that_are_no_longer_the_tuned_ones_is_not_shown(self, scale: Scale, hand: Hand) -> None:
        values = {"learning_rate": 2e-3, "old_decay": 0.5}
        hand.row(DEFAULT, 0.5, recipe=values)
        assert [cells[0] for cells in trained(scale, "best")] == ["method", "base"]
        hand.row(DEFAULT, 0.5, recipe={**values, "learning_rate": 6e-3})
        assert [cells[0] for cells in trained(scale, "best")] == ["method", "base", DEFAULT]


class TestRows:
    def test_a_curve_has_the_same_pictures_at_each_look(self, scale: Scale, hand: Hand) -> None:
        """The last look sees more: the first hundred are right here, and they are all that a curve of a hundred knows."""
        hand.row("ddpo", curve=[(1_000, 100 / 150)])
        found = next(row for row in rows(replace(scale, curve_pictures=100)) if row["method"] == "ddpo")
        assert found["curve"][0]["exact"] == {"1x20": 1.0, "3x10": 1.0}


class TestTrajectories:
    def test_has_both_guidances_and_the_best(self, scale: Scale, hand: Hand) -> None:
        values = {"learning_rate": 6e-3, "beta": "auto"}
        hand.row(TRAJECTORIES, 0.6, recipe=values)
        assert len(list(trajectories(scale))) == 1
        hand.row("online-dpo", 0.4)
        assert [cells[0] for cells in trajectories(scale)][1:] == [
            "test, guidance 1", "test, each at its own best", "validation, guidance 1", "validation, guidance 3",
        ]  # fmt: skip


class TestBreakEven:
    def test_is_told_without_and_with_the_tuning(self, scale: Scale, hand: Hand) -> None:
        """1,000 fe, and 1,000 of two tuning runs, against 160 calls a picture in place of 20."""
        hand.row(DEFAULT, 0.6, recipe={"learning_rate": 6e-3, "old_decay": 0.5})
        keep(scale.outcomes, "pool-plain", {"setting": [1, 20], "best_of": {"8": {"exact": 0.7, "nfe": 160}}})
        found = line(list(break_even(scale)), DEFAULT)
        assert found["training is cheaper after"] == f"{1000 / 140:.0f} pictures"
        assert found["with its tuning"] == f"{2000 / 140:.0f} pictures"

    def test_is_never_where_the_gain_may_be_none(self, scale: Scale, hand: Hand) -> None:
        keep(scale.outcomes, "pool-plain", {"setting": [1, 20], "best_of": {"8": {"exact": 0.7, "nfe": 160}}})
        hand.row(DEFAULT, 0.303, recipe={"learning_rate": 6e-3, "old_decay": 0.5})
        row, base = (read(scale.outcomes, name) for name in (f"row-{DEFAULT}-clip-main-0", "base"))
        assert row is not None and base is not None and gain([row], base, "best").mean > 0
        assert line(list(break_even(scale)), DEFAULT)["training is cheaper after"] == "never"


class TestAblations:
    def test_both_rates_are_kept_and_the_better_is_shown(self, scale: Scale, hand: Hand) -> None:
        hand.ablation(TRAJECTORIES, "default", 6e-3, 0.5)
        hand.ablation(TRAJECTORIES, "default", 2e-3, 0.4)
        hand.ablation(TRAJECTORIES, "n=2", 6e-3, 0.2)
        hand.ablation(TRAJECTORIES, "n=2", 2e-3, 0.45)
        assert [(one["ablation"], one["rate"]) for one in ablations(scale)] == [
            ("default", 6e-3), ("n=2", 6e-3), ("default", 2e-3), ("n=2", 2e-3),
        ]  # fmt: skip
        lines = list(ablation_rows(scale, TRAJECTORIES))
        assert line(lines, "default")["rate"] == "0.006" and line(lines, "default")["gain at 1"] == ""
        shown = line(lines, "n=2")
        assert (shown["rate"], shown["runs"], shown["exact at 1"]) == ("0.002", "2", "0.450")
        assert shown["gain at 1"].startswith("-5.0 (")  # against the default's better rate, not against its own

    def test_m_1_says_whose_computation_it_is(self, scale: Scale, hand: Hand) -> None:
        hand.ablation(TRAJECTORIES, "m=1", 6e-3, 0.5)
        assert "the same computation as online-dpo" in line(list(ablation_rows(scale, TRAJECTORIES)), "m=1")["changed"]

    def test_a_failed_rate_is_told_and_the_other_shown(self, scale: Scale, hand: Hand) -> None:
        hand.ablation(TRAJECTORIES, "n=2", 6e-3, None)
        assert line(list(ablation_rows(scale, TRAJECTORIES)), "n=2")["runs"] == "1; 0.006 failed (nan_loss)"
        hand.ablation(TRAJECTORIES, "n=2", 2e-3, 0.3)
        found = line(list(ablation_rows(scale, TRAJECTORIES)), "n=2")
        assert (found["rate"], found["runs"], found["gain at 1"]) == ("0.002", "2; 0.006 failed (nan_loss)", "")


class TestTuning:
    def test_a_grid_of_which_all_failed_is_told(self, scale: Scale, hand: Hand) -> None:
        for rate in (2e-3, 6e-3):
            keep(
                scale.outcomes, f"tune-ddpo-{rate:g}-0.001", {"method": "ddpo", "score": None, "failed": "nan_loss: x"}
            )
        assert line(list(tuning_rows(scale)), "ddpo")["failed"] == "2"
