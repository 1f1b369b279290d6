"""The adapter's layout: which layers a target group names, and its tensors inside a module that peft has injected."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from service.domain.errors import JobFailure

UNET_TARGETS: Mapping[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "feed-forward": ("ff.net.0.proj", "ff.net.2"),
    "conv": ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
}
TRANSFORMER_TARGETS: Mapping[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    "feed-forward": ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
    "conv": (),
}
"""Of a stream for pictures and one for text. There is no convolution between its blocks."""
FLUX_TARGETS: Mapping[str, tuple[str, ...]] = {
    **TRANSFORMER_TARGETS,
    "feed-forward": (*TRANSFORMER_TARGETS["feed-forward"], "proj_mlp", "proj_out"),
}
"""FLUX's single-stream blocks do attention and feed-forward side by side; `proj_out` joins the two."""


def layer_names(denoiser: nn.Module, groups: Mapping[str, tuple[str, ...]], targets: Sequence[str]) -> list[str]:
    """Full names of the layers that the groups name. A group without a layer here is refused, not ignored."""
    chosen: list[str] = []
    for target in targets:
        ends = tuple(f".{end}" for end in groups[target])
        found = [name for name, _ in denoiser.named_modules() if name.endswith(ends)]
        if not found:
            raise JobFailure(
                f'the LoRA target "{target}" names no layer of this base model; leave it out of lora.targets',
                code="lora_targets",
            )
        chosen += found
    return chosen


def config(rank: int, layers: Sequence[str]) -> LoraConfig:
    """alpha = rank: the scale is 1, so a file without alpha is exact."""
    return LoraConfig(r=rank, lora_alpha=rank, target_modules=list(layers))


def tensors(denoiser: nn.Module, adapter: str) -> dict[str, nn.Parameter]:
    """The adapter's parameters by their names in the exported file, in the module's order."""
    infix = f".{adapter}.weight"
    return {
        name.removesuffix(infix) + ".weight": parameter
        for name, parameter in denoiser.named_parameters()
        if name.endswith((f"lora_A{infix}", f"lora_B{infix}"))
    }


@torch.no_grad()
def initialise(parameters: Mapping[str, Tensor], generator: torch.Generator) -> None:
    """B = 0, A as peft draws it, but from a generator of our own: the same seed gives the same adapter anywhere."""
    for name, parameter in parameters.items():
        if "lora_B" in name:
            parameter.zero_()
        else:
            drawn = torch.empty(parameter.shape, dtype=torch.float32)
            nn.init.kaiming_uniform_(drawn, a=5**0.5, generator=generator)
            parameter.copy_(drawn)


@contextmanager
def several_are_meant() -> Iterator[None]:
    """peft warns of a second adapter, and of one deleted beside another: both are daily life in serving."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`|Adapter .* was active which is now")
        yield


@contextmanager
def folded(denoiser: nn.Module) -> Iterator[None]:
    """The worn adapter added into the base's weights inside the block, for many forwards of unchanging weights.

    Where the adapter is switched off already, nothing is added: inside `switched_off` the network is the base, searching
    or not. Afterwards the base has its own tensors back: subtracting again would drift. Of no use below fp32, whose
    rounding would swallow a small adapter.
    """
    layers = [
        module for module in denoiser.modules() if isinstance(module, BaseTunerLayer) and not module.disable_adapters
    ]
    weights = [layer.get_base_layer().weight for layer in layers]
    own = [weight.data for weight in weights]
    for layer, weight in zip(layers, weights, strict=True):
        weight.data = weight.data + sum(layer.get_delta_weight(name).detach() for name in layer.active_adapters)
    try:
        with switched_off(denoiser):
            yield
    finally:
        for weight, data in zip(weights, own, strict=True):
            weight.data = data


@contextmanager
def switched_off(denoiser: nn.Module) -> Iterator[None]:
    """Every adapter off inside the block: peft's own flag, because its public switch also toggles requires_grad."""
    layers = [module for module in denoiser.modules() if isinstance(module, BaseTunerLayer)]
    before = [layer._disable_adapters for layer in layers]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer, state in zip(layers, before, strict=True):
            layer._disable_adapters = state
