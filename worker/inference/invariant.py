"""Arithmetic whose bits do not depend on the batch: a picture drawn alone is the picture drawn among others.

On a CPU in fp32 with one thread two things differ between batch sizes (measured with torch 2.13): oneDNN's convolutions
of small pictures, and matrix products of fewer than 16 rows, such as the time embedding's. So oneDNN is off, and such
products get rows of zeros up to 16. Everything else computes each row by itself.
"""

from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from service.domain.errors import JobFailure
from worker.models.family import Family

ROWS = 16


class BatchInvariant:
    """Inside the block. Slower: for tests, audits and replays. oneDNN's switch is the process's, not the thread's."""

    def __init__(self, family: Family) -> None:
        """Raises JobFailure where the bits cannot be promised, with what to change."""
        wrong = [
            (family.device.type != "cpu", "a CPU (STROP_DEVICE=cpu)"),
            (family.dtype != torch.float32, "fp32"),
            (torch.get_num_threads() != 1, "one thread (STROP_THREADS=1)"),
        ]
        if needed := [what for found, what in wrong if found]:
            raise JobFailure(
                f"STROP_BATCH_INVARIANT=1 needs {' and '.join(needed)}: change that, or leave it out",
                code="batch_invariant",
            )
        self._modes: list[_PaddedLinear] = []
        self._before = True

    def __enter__(self) -> None:
        self._before = torch.backends.mkldnn.enabled
        torch.backends.mkldnn.enabled = False
        self._modes.append(_PaddedLinear().__enter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._modes.pop().__exit__(kind, error, trace)
        torch.backends.mkldnn.enabled = self._before


class _PaddedLinear(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and not kwargs:
            return _linear(*args)
        return func(*args, **(kwargs or {}))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rows = x.flatten(0, -2) if x.dim() > 1 else x[None]
    if len(rows) >= ROWS:
        return F.linear(x, weight, bias)
    padded = F.pad(rows, (0, 0, 0, ROWS - len(rows)))
    return F.linear(padded, weight, bias)[: len(rows)].view(*x.shape[:-1], len(weight))
