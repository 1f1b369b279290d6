"""A folder that is not what the catalogue says ends in a sentence with the remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline

from service.domain.catalogue import Family
from service.domain.errors import JobFailure
from tests.worker import tiny_families
from worker.models import lora
from worker.models.base import PipelineFamily
from worker.models.load import PIPELINES, load, pick_dtype

FolderOf = Callable[[str], Path]


class TestFamily:
    @pytest.mark.parametrize("holds", ["sd", "sdxl", "sd3", "flux-dev"])
    def test_a_folder_of_another_family_is_told_by_its_name(self, holds: str, folder_of: FolderOf) -> None:
        right = holds.split("-", maxsplit=1)[0]
        for wrong in set(get_args(Family)) - {right}:
            with pytest.raises(JobFailure, match=f'write family = "{right}"') as failure:
                load(wrong, folder_of(holds), device="cpu")
            assert failure.value.code == "family_mismatch"
            assert PIPELINES[right] in failure.value.message

    def test_a_pipeline_of_no_family_is_told_what_is_known(self, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text('{"_class_name": "PixArtAlphaPipeline"}')
        with pytest.raises(JobFailure, match=r"holds a PixArtAlphaPipeline: known are .*FluxPipeline") as failure:
            load("flux", tmp_path, device="cpu")
        assert failure.value.code == "family_mismatch"

    @pytest.mark.parametrize("index", [None, "{}", "not json"])
    def test_a_folder_without_a_pipeline(self, index: str | None, tmp_path: Path) -> None:
        if index is not None:
            (tmp_path / "model_index.json").write_text(index)
        with pytest.raises(JobFailure, match=r"no model_index\.json") as failure:
            load("sd", tmp_path, device="cpu")
        assert failure.value.code == "base_unloadable"

    def test_a_folder_that_lacks_its_weights(self, tmp_path: Path) -> None:
        folder = tiny_families.make("sdxl", tmp_path)
        (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        with pytest.raises(JobFailure, match="StableDiffusionXLPipeline") as failure:
            load("sdxl", folder, device="cpu")
        assert failure.value.code == "base_unloadable"

    def test_a_safety_checker_that_it_names_need_not_be_there(self, tmp_path: Path) -> None:
        """So it is not fetched either."""
        folder = tiny_families.make("sd", tmp_path)
        index = json.loads((folder / "model_index.json").read_text())
        named = index | {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
        (folder / "model_index.json").write_text(json.dumps(named))
        load("sd", folder, device="cpu")


def full(*given: Any, **named: Any) -> None:
    """As `from_pretrained` ends where the weights do not fit: by torch's own words."""
    torch.empty(2**55)


class TestWantOfMemory:
    """Is nothing that is wrong with the folder, so it is told as what it is."""

    def test_of_the_base_model(self, folder_of: FolderOf, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", full)
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            load("sd", folder_of("sd"), device="cpu")

    def test_of_the_preview_decoder(self, folder_of: FolderOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(AutoencoderTiny, "from_pretrained", full)
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            load("sd", folder_of("sd"), device="cpu", preview_decoder=tmp_path)


class TestResolution:
    @pytest.mark.parametrize(("kind", "resolution"), [("sd3", 72), ("flux-dev", 72), ("sdxl", 60)])
    def test_a_side_that_cannot_be_cut_into_patches_is_refused(
        self, kind: str, resolution: int, folder_of: FolderOf
    ) -> None:
        with pytest.raises(JobFailure, match="choose a resolution") as failure:
            load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="cpu", resolution=resolution)
        assert failure.value.code == "base_unloadable"

    def test_it_sets_the_latent_s_side(self, folder_of: FolderOf) -> None:
        assert load("flux", folder_of("flux-dev"), device="cpu", resolution=128).latent_shape == (4, 16, 16)


class TestRecomputes:
    @pytest.mark.parametrize(
        ("kind", "large"), [("sd", False), ("sdxl", True), ("sd3", True), ("flux-dev", True), ("flux-schnell", True)]
    )
    def test_says_where_one_picture_s_activations_are_too_many_to_keep(
        self, kind: str, large: bool, folder_of: FolderOf
    ) -> None:
        family = load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="cpu", resolution=64)
        assert family.recomputes == large


def test_a_gpu_that_is_named_and_not_there_is_no_cpu(folder_of: FolderOf) -> None:
    with pytest.raises(JobFailure, match=r"STROP_DEVICE is cuda:99, .* see to the driver") as failure:
        load("sd", folder_of("sd"), device="cuda:99")
    assert failure.value.code == "device_unavailable"


@pytest.mark.parametrize(("native", "chosen"), [(False, torch.float32), (True, torch.bfloat16)])
def test_bf16_is_chosen_where_the_gpu_computes_in_it(
    native: bool, chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU before Ampere emulates it, slower than fp32: torch counts that as support unless it is asked not to."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert pick_dtype("auto", torch.device("cuda")) == chosen


@pytest.mark.parametrize("kind", ["sd3", "flux-schnell"])
def test_a_transformer_has_no_convolution_to_adapt(kind: str, load_kind: Callable[..., PipelineFamily]) -> None:
    with pytest.raises(JobFailure, match=r'"conv".*leave it out of lora\.targets') as failure:
        load_kind(kind).add_adapter(4, ["attention", "conv"], seed=0)
    assert failure.value.code == "lora_targets"


@pytest.mark.parametrize("kind", ["sd3", "flux-dev"])
def test_a_transformer_s_groups_are_all_the_linear_layers_of_its_blocks(
    kind: str, load_kind: Callable[..., PipelineFamily]
) -> None:
    """But those that modulate norms, which carry time and pooled text, not the picture."""
    family = load_kind(kind)
    inside = {
        name
        for name, layer in family.denoiser.named_modules()
        if isinstance(layer, torch.nn.Linear) and "blocks." in name and ".norm" not in name
    }
    assert set(lora.layer_names(family.denoiser, family.groups, ["attention", "feed-forward"])) == inside
