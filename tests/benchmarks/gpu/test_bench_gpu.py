"""The GPU's bench on a CPU and a tiny base: it measures what it says it does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel

from benchmarks.gpu import __main__ as bench
from benchmarks.gpu import adapters, bases, updates
from benchmarks.step import shapes
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
    monkeypatch.setattr(bench, "PROMPTS", {"sd15": 1})
    monkeypatch.setattr(updates, "PROMPTS", ("a red dot", "blue"))
    return make


def test_a_base_is_measured_by_the_training_loop_and_left_as_it_was(made: object) -> None:
    found = list(bench.of_base("sd15", bright))
    pairs, forward = found[:2]
    assert pairs["training_nfe"] == 8 * 8 + 2 * 8 * 2  # rollouts; policy and reference at each level of the pair
    assert pairs["decodes"] == pairs["reward_calls"] == 8 * 2
    assert pairs["first_loss"] == pytest.approx(0.6931, abs=1e-4)
    assert forward["training_nfe"] > pairs["training_nfe"]
    assert [row["base"] for row in found[5:]] == ["sd15"] * len(found[5:])
    compared = found[2:5]
    assert compared[0]["ops"][0] < compared[0]["ops"][1], "our layers are fewer operations than peft's"
    assert compared[1]["ops"][1] < compared[1]["ops"][0]


def test_the_other_side_is_pefts_own_layers(
    made: Callable[[], PipelineFamily], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = adapters.Worn("sd15", made(), 2)
    torch.manual_seed(0)
    monkeypatch.setattr(lean, "slim", lambda denoiser, adapter: None)
    pefts = adapters.Worn("sd15", made(), 2)
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
