"""What a benchmark makes of seconds, and how it counts."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.contest import contest, cost, keep, operations, row, speed, table

PLACE = SimpleNamespace(device="cpu", model="tiny")
SECONDS = {"ours": [1.0, 1.1, 0.9], "theirs": [2.0, 2.2, 1.8]}


def test_speed_is_theirs_over_ours_and_cost_the_inverse() -> None:
    assert speed(SECONDS, "ours", "theirs")["ratio"] == 2.0
    assert cost(SECONDS, "ours", "theirs")["ratio"] == 0.5


def test_an_interval_holds_its_ratio() -> None:
    compared = speed(SECONDS, "ours", "theirs")
    low, high = compared["ci95"]
    assert low < compared["ratio"] < high


@pytest.mark.parametrize(
    ("bound", "value", "met"),
    [("at least", 2.0, True), ("at least", 2.1, False), ("at most", 2.0, True), ("at most", 1.9, False)],
)
def test_a_goal_is_met_on_its_own_side(bound: str, value: float, met: bool) -> None:
    made = row("it", PLACE, speed(SECONDS, "ours", "theirs"), goal=(bound, value))
    assert made["met"] is met
    assert "2.000" in table([made])[2]


def test_contenders_take_turns_and_the_first_turn_only_warms_up() -> None:
    order: list[str] = []
    seconds = contest("it", {name: lambda name=name: order.append(name) for name in "ab"}, 2)  # type: ignore[misc]
    assert order == list("ababab")
    assert [len(each) for each in seconds.values()] == [2, 2]


def test_operations_are_those_that_reach_aten() -> None:
    x = torch.ones(2, 2)
    assert operations(lambda: x + x) == 1
    assert operations(lambda: torch.relu(x @ x) + 1) == 3


def test_a_row_is_kept_in_place_of_the_same_one_measured_before(tmp_path: Path) -> None:
    """Of the same part, name, device and model: a GPU's stand beside a CPU's."""
    results = tmp_path / "results.json"
    on_cpu, on_gpu = ({"name": "it", "device": device, "model": "tiny", "ratio": 1.0} for device in ("cpu", "cuda"))
    keep(results, "calls", [on_cpu], {"seconds": 1})
    keep(results, "calls", [on_gpu], {"seconds": 2})
    keep(results, "calls", [on_cpu | {"ratio": 2.0}], {"seconds": 3})
    keep(results, "traffic", [on_cpu], {"seconds": 4})
    kept = [
        (row["part"], row["device"], row["ratio"], row["run"]["seconds"]) for row in json.loads(results.read_text())
    ]
    assert kept == [("calls", "cuda", 1.0, 2), ("calls", "cpu", 2.0, 3), ("traffic", "cpu", 1.0, 4)]
