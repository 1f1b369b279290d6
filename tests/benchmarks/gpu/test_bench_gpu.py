"""The GPU's bench on a CPU and a tiny base: it measures what it says it does."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel

from benchmarks.gpu import __main__ as bench
from benchmarks.gpu import adapters, bases, steps, updates
from benchmarks.step import shapes
from benchmarks.step.__main__ import small_unet
from tests.worker import tiny
from tests.worker.training.conftest import bright
from worker.models import lean
from worker.models.base import PipelineFamily
from worker.models.load import load


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], PipelineFamily]:
    """Tiny bases in place of the large ones."""
    folder = tiny.pipeline_folder(tmp_path / "sd")

    def make(name: str = "sd15", device: str = "cpu") -> PipelineFamily:
        return load("sd", folder, device=device, dtype="bf16", resolution=64)  # type: ignore[return-value]

    monkeypatch.setattr(bases, "make", make)
    monkeypatch.setattr(bench, "DEVICE", "cpu")
    monkeypatch.setattr(bench, "AN_UPDATE", {"sd15": 1})
    monkeypatch.setattr(updates, "PROMPTS", ("a red dot", "blue"))
    return make


def test_a_base_is_measured_by_the_training_loop(made: object) -> None:
    found = {row["name"]: row for row in bench.of_base("sd15", bright)}
    pairs, forward = (found[f"an update of {method}"] for method in ("sharpening-rlhf", "forward-process"))
    assert pairs["training_nfe"] == 8 * 8 + 2 * 8 * 2  # rollouts; policy and reference at each level of the pair
    assert pairs["decodes"] == pairs["reward_calls"] == 8 * 2
    assert pairs["first_loss"] == pytest.approx(0.6931, abs=1e-4)
    assert pairs["warmed"]
    assert forward["training_nfe"] > pairs["training_nfe"]
    compared = {name.split(", ")[1]: row["ops"] for name, row in found.items() if row.get("ops")}
    ours, pefts = compared["our adapter layers : peft's"]
    with_adapter, base = compared["with the adapter : the base alone"]
    assert base < ours == with_adapter < pefts


def test_a_row_is_written_when_it_is_measured(made: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after it may fail, and a GPU is dear."""

    def half(name: str, reward: object) -> Iterator[dict[str, Any]]:
        yield {"name": "first", "base": name}
        raise RuntimeError("an illegal address")

    monkeypatch.setattr(bench, "of_base", half)
    monkeypatch.setattr(bases, "clip_reward", tiny.clip_folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    with pytest.raises(RuntimeError):
        bench.main(["--only", "sd15", "--into", str(tmp_path / "results.json")])
    assert [row["name"] for row in json.loads((tmp_path / "results.json").read_text())] == ["first"]


@pytest.mark.parametrize("train", ["weights", "lora"])
def test_both_loops_of_an_sft_step_are_the_same_step(train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(steps.UNETS, "sd15", small_unet())
    step = steps.Step("sd15", 64, train, "cpu")
    for ours, theirs in zip(step.ours(), step.theirs(), strict=True):
        assert ours.shape == theirs.shape
    assert [row["turns"] for row in steps.rows("sd15", 64, train, "cpu", 1)] == [1]


def test_the_other_side_is_pefts_own_layers(
    made: Callable[[], PipelineFamily], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = adapters.Worn("sd15", made())
    torch.manual_seed(0)
    monkeypatch.setattr(lean, "slim", lambda denoiser, adapter: None)
    pefts = adapters.Worn("sd15", made())
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters, pefts.parameters, strict=True):
            theirs.copy_(mine)
    pefts._latents = ours._latents
    lifted = ours.lifted(ours.search)()
    assert torch.equal(lifted, pefts.search())
    assert not torch.equal(lifted, ours.search())


@pytest.mark.parametrize("name", list(shapes.PARAMETERS))
def test_the_shapes_have_the_parameters_that_are_known(name: str) -> None:
    with torch.device("meta"):
        denoiser = {
            "sd15": lambda: UNet2DConditionModel(**shapes.SD15_UNET),
            "sdxl": lambda: UNet2DConditionModel(**shapes.SDXL_UNET),
            "sd35-medium": lambda: SD3Transformer2DModel(**shapes.SD35_TRANSFORMER),
            "flux-dev": lambda: FluxTransformer2DModel(**shapes.FLUX_TRANSFORMER),
        }[name]()
    assert sum(each.numel() for each in denoiser.parameters()) == shapes.PARAMETERS[name]
