"""A bf16 base's trained adapter in as few operations as it can be had in: on a GPU each of them costs its launch.

peft lifts every layer's input to fp32 to meet the adapter's weights, multiplies by the scale (1 here: alpha = rank) and
adds. Here there are two products in bf16, the second of which adds; weights and gradients are kept and summed in fp32, as
in training under autocast. fp16 stays with peft: it knows nothing below 6e-8, which gradients inside an adapter are; so
does fp32, which has nothing to gain.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Conv2d, Linear
from torch import Tensor, nn
from torch.nn import functional


class Lean:
    """In place of a peft layer's `forward`, where the adapter is as `lora.config` makes it. What it is not made for, another
    adapter worn or merged there, is left to peft."""

    def __init__(self, layer: Any, adapter: str) -> None:
        self._layer, self._adapter = layer, adapter
        self.ready: tuple[Tensor, Tensor] | None = None
        """A and B as the base computes, where they were cast beforehand."""

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer = self._layer
        if not self.worn or layer.active_adapters != [self._adapter] or layer.merged:
            return type(layer).forward(layer, x, *args, **kwargs)  # type: ignore[no-any-return]
        result: Tensor = layer.base_layer(x, *args, **kwargs)
        if layer.disable_adapters:
            return result
        a, b = self.ready or self.cast()
        if isinstance(layer.base_layer, nn.Conv2d):
            first = layer.lora_A[self._adapter]
            return result + functional.conv2d(functional.conv2d(x, a, None, first.stride, first.padding), b)
        within = functional.linear(x, a)
        return torch.addmm(result.flatten(0, -2), within.flatten(0, -2), b.t()).view_as(result)

    @property
    def worn(self) -> bool:
        """Not after the adapter was dropped: peft leaves its layers, empty."""
        return self._adapter in self._layer.lora_A

    def cast(self) -> tuple[Tensor, Tensor]:
        layer, dtype = self._layer, self._layer.base_layer.weight.dtype
        return layer.lora_A[self._adapter].weight.to(dtype), layer.lora_B[self._adapter].weight.to(dtype)


def slim(denoiser: nn.Module, adapter: str) -> None:
    """Let the adapter's layers compute as this file says."""
    for layer in denoiser.modules():
        if isinstance(layer, Linear | Conv2d) and adapter in layer.lora_A:
            layer.forward = Lean(layer, adapter)


@contextmanager
def cast(denoiser: nn.Module) -> Iterator[None]:
    """The adapter's weights cast once for all forwards of the block, which must not change them."""
    found = [layer.forward for layer in denoiser.modules() if isinstance(layer.forward, Lean) and layer.forward.worn]
    try:
        with torch.no_grad():
            for lean in found:
                lean.ready = lean.cast()
        yield
    finally:
        for lean in found:
            lean.ready = None
