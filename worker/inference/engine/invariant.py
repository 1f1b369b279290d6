"""Arithmetic whose bits do not depend on the batch: a picture drawn alone is the picture drawn among others.

On a CPU in fp32 with one thread these differ between batch sizes (found with torch 2.13, by comparing every module's output):
- convolutions: oneDNN picks by size, and NNPACK takes over at 16 rows. Both are off.
- matrix products of fewer than 16 rows, such as the time embedding's. They get rows of zeros up to 16.
- SiLU and GELU: what is left over after whole vectors is reckoned by another exp. They get zeros up to whole vectors.
Everything else computes each row by itself.
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
VECTORS = 64
"""Floats: a multiple of what any CPU's kernels take at once."""
CURVES = (F.silu, F.gelu)


class BatchInvariant:
    """Inside the block. Slower: for tests, audits and replays. The two libraries' switches are the process's, not the thread's."""

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
        self._modes: list[_Padded] = []
        self._before = (True, True)

    def __enter__(self) -> None:
        self._before = (torch.backends.mkldnn.enabled, torch.backends.nnpack.set_flags(False)[0])
        torch.backends.mkldnn.enabled = False
        self._modes.append(_Padded().__enter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._modes.pop().__exit__(kind, error, trace)
        torch.backends.mkldnn.enabled, nnpack = self._before
        torch.backends.nnpack.set_flags(nnpack)


class _Padded(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and not kwargs:
            return _linear(*args)
        if func in CURVES:
            return _curve(func, args[0], {name: value for name, value in (kwargs or {}).items() if name != "inplace"})
        return func(*args, **(kwargs or {}))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rows = x.flatten(0, -2) if x.dim() > 1 else x[None]
    if len(rows) >= ROWS:
        return F.linear(x, weight, bias)
    padded = F.pad(rows, (0, 0, 0, ROWS - len(rows)))
    return F.linear(padded, weight, bias)[: len(rows)].view(*x.shape[:-1], len(weight))


def _curve(func: Any, x: Tensor, words: dict[str, Any]) -> Tensor:
    over = -x.numel() % VECTORS
    if not over:
        return func(x, **words)
    return func(F.pad(x.flatten(), (0, over)), **words)[: x.numel()].view(x.shape)
