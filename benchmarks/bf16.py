"""Modules made where they will compute, in what they will compute in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def in_bf16(device: str) -> Iterator[None]:
    """Modules made inside the block are on the device and in bf16 from the start: FLUX in fp32 fills a GPU."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(torch.float32)
