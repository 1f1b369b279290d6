"""From what was raised to the child's last word: a stable code, a sentence with a remedy, whether to try again."""

import errno
from contextlib import AbstractContextManager

from service.domain.errors import JobFailure
from worker.memory import is_out_of_memory, told, whose
from worker.pipe import Failed

_RETRIED = frozenset({"base_unavailable", "reward_unavailable", "device_unavailable"})
_DISK = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
_MEMORY = (
    "send gradient_checkpointing: true, lower method.micro_batch, method.prompts_per_step, method.candidates or lora.rank, "
    "or ask for a worker with more memory (needs.memory_gib)"
)


def explain(error: BaseException) -> Failed:
    """What a job tells its owner. A fault of ours keeps its type and words; its traceback is among the log lines."""
    match error:
        case JobFailure():
            return Failed(error.code, error.message, retry=error.code in _RETRIED)
        case _ if is_out_of_memory(error):
            return Failed("out_of_memory", f"{whose(error)} memory ran out: {_MEMORY}", retry=False)
        case OSError() if error.errno in _DISK:
            where = f" while {error.filename} was written" if error.filename else ""
            text = (
                f"the worker's scratch disk is full{where}: free space there or set STROP_SCRATCH_DIR to a larger disk"
            )
            return Failed("disk_full", text, retry=True)
        case _:
            return Failed("internal_error", f"{type(error).__name__}: {error}", retry=True)


def fitting(model: str) -> AbstractContextManager[None]:
    """Around the loading of a model: no lower setting of the job makes its weights smaller. Raises JobFailure `out_of_memory`."""
    return told(
        f"has no room for the weights of the {model}: ask for a worker with more of it (needs.memory_gib), "
        "or let nothing else use this one's"
    )
