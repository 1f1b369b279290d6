"""The two sides of the benchmark do the same work, on a tiny pipeline."""

import pytest
import torch

from benchmarks.inference import places
from benchmarks.inference.calls import Pair
from benchmarks.inference.places import Place
from worker.evaluation.receipt_sides import foreign_layers


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    from tests.worker import tiny

    folder = tmp_path_factory.mktemp("bench")
    return places._place(
        "tiny", tiny.pipeline_folder(folder / "base"), 64, folder, 2, places.LINEAR, "cpu", spread=0.02
    )


@pytest.fixture
def pair(place: Place) -> Pair:
    return Pair(place, 2, steps=2, guidance=3.0)


def test_without_adapters_both_sides_give_the_same_latents_and_with_them_others(pair: Pair) -> None:
    pair.check()


def test_an_adapter_that_changes_nothing_is_seen(pair: Pair) -> None:
    pair._worn[1] = ()
    with pytest.raises(AssertionError, match="changes nothing"):
        pair.check()


def test_both_sides_cost_the_same_forwards_and_the_base_has_no_layer_of_ours(pair: Pair) -> None:
    assert pair.nfe() == (2 * 2 * 2, 2 * 2 * 2)
    assert not foreign_layers(pair.plain.denoiser)


def test_an_adapter_costs_operations_and_none_costs_none(pair: Pair) -> None:
    with torch.no_grad():
        worn, base = pair.operations()
        pair._worn = [(), ()]
        assert worn > base
        plain, again = pair.operations()
    assert plain <= base == again
