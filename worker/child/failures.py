"""From what was raised to the child's last word: a stable code, a sentence with a remedy, whether to try again."""

import errno

import torch

from service.domain.errors import JobFailure
from worker.pipe import Failed

_RETRIED = frozenset({"base_unavailable", "reward_unavailable"})
_DISK = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
_MEMORY = (
    "send gradient_checkpointing: true, lower method.micro_batch, method.prompts_per_step, method.candidates or lora.rank, "
    "or use a worker with more memory"
)


def explain(error: BaseException) -> Failed:
    """What a job tells its owner. A fault of ours keeps its type and words; its traceback is among the log lines."""
    match error:
        case JobFailure():
            return Failed(error.code, error.message, retry=error.code in _RETRIED)
        case torch.OutOfMemoryError():
            return Failed("out_of_memory", f"the device's memory ran out: {_MEMORY}", retry=False)
        case MemoryError():
            return Failed("out_of_memory", f"the machine's memory ran out: {_MEMORY}", retry=False)
        case RuntimeError() if "DefaultCPUAllocator" in str(error):  # what torch raises in place of MemoryError
            return Failed("out_of_memory", f"the machine's memory ran out: {_MEMORY}", retry=False)
        case OSError() if error.errno in _DISK:
            where = f" while {error.filename} was written" if error.filename else ""
            text = (
                f"the worker's scratch disk is full{where}: free space there or set STROP_SCRATCH_DIR to a larger disk"
            )
            return Failed("disk_full", text, retry=True)
        case _:
            return Failed("internal_error", f"{type(error).__name__}: {error}", retry=True)
