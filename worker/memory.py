"""Whether it was memory that was wanting: torch has a class for its own allocator's word, the libraries below it only words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from service.domain.errors import JobFailure

NO_MEMORY = (
    "DefaultCPUAllocator",  # what torch raises in place of MemoryError
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "MPS backend out of memory",
)
"""Said by plain RuntimeErrors."""


def is_out_of_memory(error: BaseException) -> bool:
    """Of the device or of the machine: MemoryError, torch's own, or what CUDA, cuBLAS and cuDNN say of their allocations."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in NO_MEMORY)


def whose(error: BaseException) -> str:
    """Of an error that is_out_of_memory: the owner of the memory that was wanting, for a sentence."""
    of_machine = isinstance(error, MemoryError) or "allocate memory" in str(error) or "CPUAllocator" in str(error)
    return "the machine's" if of_machine else "the device's"


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raises JobFailure `out_of_memory` in place of any error that is one; `what` follows whose memory it was."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise JobFailure(f"{whose(error)} memory {what}", code="out_of_memory") from error
