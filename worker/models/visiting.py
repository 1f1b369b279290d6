"""Modules that wait in the machine's memory and are on the device only while they are needed there.

Of FLUX.1's 33 GB of weights in bf16 T5 has 9.5, and a training asks it for a prompt once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def visiting(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """The modules are on `device` inside the block. Afterwards they have their own tensors back, so that nothing is copied
    home, and the device's memory is free again."""
    own = [(part, dict(part.named_parameters(recurse=False)), dict(part.named_buffers(recurse=False)))
           for module in modules for part in module.modules()]  # fmt: skip
    there: dict[Tensor, Tensor] = {}  # T5's embeddings are one tensor in two places
    try:
        for part, parameters, buffers in own:
            for name, value in {**parameters, **buffers}.items():
                if value not in there:
                    moved = value.detach().to(device)
                    there[value] = nn.Parameter(moved, requires_grad=False) if name in parameters else moved
                setattr(part, name, there[value])
        yield
    finally:
        for part, parameters, buffers in own:
            for name, value in {**parameters, **buffers}.items():
                setattr(part, name, value)
        there.clear()
        if device.type == "cuda":
            torch.cuda.empty_cache()
