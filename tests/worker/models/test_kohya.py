"""kohya's keys, read back by diffusers' own converters."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from torch import Tensor

from tests.worker.models import plain
from worker.models import kohya, lora
from worker.models.base import PipelineFamily

LoadKind = Callable[..., PipelineFamily]

SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
GROUPS = ["attention", "feed-forward", "conv"]


def update(down: Tensor, up: Tensor) -> Tensor:
    """ΔW = B A of a linear layer, or of a convolution followed by one of 1×1."""
    return up @ down if down.ndim == 2 else torch.einsum("or,rikl->oikl", up.flatten(1), down)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
class TestRoundTrip:
    def test_the_update_of_each_layer_is_the_same_through_diffusers_converter(
        self, kind: str, folder_of: Callable[[str], Path], load_kind: LoadKind, tmp_path: Path
    ) -> None:
        family = load_kind(kind)
        tensors = family.add_adapter(4, GROUPS, seed=0)
        for place, tensor in enumerate(tensors.values()):
            tensor.data.normal_(generator=torch.Generator().manual_seed(place))
        (tmp_path / "kohya.safetensors").write_bytes(family.export_kohya(tensors))
        pipeline = plain.load(kind, folder_of(kind))
        pipeline.load_lora_weights(tmp_path, weight_name="kohya.safetensors", adapter_name="read")
        read = {name: layer for name, layer in pipeline.unet.named_modules() if hasattr(layer, "get_delta_weight")}
        assert {f"{name}.lora_{factor}.weight" for name in read for factor in "AB"} == tensors.keys()
        for name, layer in read.items():
            expected = update(*(tensors[f"{name}.lora_{factor}.weight"] for factor in "AB"))
            torch.testing.assert_close(layer.get_delta_weight("read"), expected, atol=1e-5, rtol=1e-5)


class TestKeys:
    def test_each_layer_says_its_alpha_which_is_its_rank(self, load_kind: LoadKind) -> None:
        family = load_kind("sd")
        read = safetensors.torch.load(family.export_kohya(family.add_adapter(4, GROUPS, seed=0)))
        layers = {key.partition(".")[0] for key in read}
        assert {key.partition(".")[2] for key in read} == {"lora_down.weight", "lora_up.weight", "alpha"}
        assert all(read[f"{layer}.alpha"] == 4 for layer in layers)
        assert "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0" in layers

    def test_the_layers_of_sdxl_go_by_the_original_s_names(self) -> None:
        """Every target of the real SDXL, against the map by which diffusers reads original checkpoints."""
        with torch.device("meta"):
            unet = UNet2DConditionModel(**SDXL)
        rename, layers = kohya.sgm_names(unet.config), lora.layer_names(unet, lora.UNET_TARGETS, GROUPS)
        names = {rename(layer): layer for layer in layers}
        assert len(names) == len(layers)
        assert names["input_blocks.4.1.transformer_blocks.0.attn1.to_q"] == (
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
        )
        marks = {layer: float(place) for place, layer in enumerate(layers)}
        checkpoint = {
            f"model.diffusion_model.{name}.{part}": torch.tensor(marks[layer])
            for name, layer in names.items()
            for part in ("weight", "bias")
        }
        checkpoint["model.diffusion_model.input_blocks.0.0.weight"] = torch.tensor(-1.0)  # the converter counts blocks
        config = {**unet.config, "addition_embed_type": None}
        read = convert_ldm_unet_checkpoint(checkpoint, config)
        assert {layer: read[f"{layer}.weight"].item() for layer in layers} == marks


@pytest.mark.parametrize("kind", ["sd3", "flux-dev"])
def test_a_transformer_s_file_has_diffusers_keys_and_no_other(kind: str, load_kind: LoadKind) -> None:
    family = load_kind(kind)
    tensors = family.add_adapter(4, ["attention"], seed=0)
    assert safetensors.torch.load(family.export(tensors)).keys() == {f"transformer.{name}" for name in tensors}
    assert family.export_kohya(tensors) is None
