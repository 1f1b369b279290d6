"""An adapter under kohya's keys, which ComfyUI, A1111 and sd-scripts read: `lora_unet_…` with `.lora_down`, `.lora_up`, `.alpha`.

sd-scripts trains SD 1.x and 2.x on diffusers' U-Net and SDXL on the original one, so the layers of SDXL go by the
original's names (input_blocks, middle_block, output_blocks; "sgm" in diffusers' converter). Each layer says its alpha,
which is its rank here: readers that assume another alpha than ours would scale the update.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

RESNET = {"conv1": "in_layers.2", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}

Rename = Callable[[str], str]


def export(tensors: Mapping[str, Tensor], rename: Rename = str) -> bytes:
    """A safetensors file. `tensors` by peft's names (`….lora_A.weight`); `rename` maps a layer's diffusers name."""
    packed = {}
    for name, value in tensors.items():
        layer, factor = re.fullmatch(r"(.+)\.lora_([AB])\.weight", name).groups()
        key = "lora_unet_" + rename(layer).replace(".", "_")
        packed[f"{key}.lora_{'down' if factor == 'A' else 'up'}.weight"] = value.detach().cpu().contiguous()
        if factor == "A":
            packed[f"{key}.alpha"] = torch.tensor(float(len(value)))
    return safetensors.torch.save(packed, metadata={"format": "pt"})


def sgm_names(unet: Mapping[str, Any]) -> Rename:
    """From diffusers' names of a U-Net with this config to the original's. A level has `layers_per_block` cells and one
    more: the downsampler's going down, the longer stack's going up."""
    cells = unet["layers_per_block"] + 1
    attends = ["CrossAttn" in kind for kind in unet["up_block_types"]]

    def rename(layer: str) -> str:
        block, rest = layer.split(".", 1)
        if block == "mid_block":
            kind, place, inner = rest.split(".", 2)
            return f"middle_block.{1 if kind == 'attentions' else 2 * int(place)}.{RESNET.get(inner, inner)}"
        level, kind, place, inner = rest.split(".", 3)
        level, place, down = int(level), int(place), block == "down_blocks"
        match kind:
            case "resnets" | "attentions":
                cell = level * cells + place + down
                return f"{'input' if down else 'output'}_blocks.{cell}.{int(kind == 'attentions')}.{RESNET.get(inner, inner)}"
            case "downsamplers":
                return f"input_blocks.{(level + 1) * cells}.0.op"
            case "upsamplers":
                return f"output_blocks.{level * cells + cells - 1}.{1 + attends[level]}.conv"
            case _:
                raise ValueError(f"{layer} has no name in the original U-Net")

    return rename
