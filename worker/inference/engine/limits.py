"""What memory allows: how many samples a call of each base may have, and a second try when there is more room; and which
failures are the device's own.

A call may have as many samples as SIZES, or as many as the device's memory last allowed.
"""

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import StropError
from worker.inference.engine.requests import SIZES
from worker.memory import is_out_of_memory

CALM = 64
"""Calls without trouble after which twice as many are tried again."""
T = TypeVar("T")
logger = logging.getLogger(__name__)


class Limits:
    """By base model."""

    def __init__(self) -> None:
        self._found: dict[BaseModelEntry, tuple[int, int]] = {}
        """(samples, calls since); absent: SIZES' largest."""

    def of(self, base: BaseModelEntry) -> int:
        return self._found.get(base, (SIZES[-1], 0))[0]

    def halve(self, base: BaseModelEntry, size: int) -> None:
        """A call of `size` did not fit."""
        self._found[base] = (size // 2, 0)

    def calm(self, base: BaseModelEntry) -> None:
        """A call did fit."""
        if base not in self._found:
            return
        limit, calls = self._found[base]
        self._found[base] = (limit, calls + 1) if calls < CALM else (limit * 2, 0)
        if self._found[base][0] >= SIZES[-1]:
            del self._found[base]


def is_device_lost(error: BaseException) -> bool:
    """Whether the device itself failed. CUDA answers every later call with such an error, until the process ends."""
    if isinstance(error, StropError):
        return error.__cause__ is not None and is_device_lost(error.__cause__)
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


def with_room(do: Callable[[], T], free: Callable[[], object]) -> T:
    """What `do` returns; it is done once more, after `free`, where memory runs out. Raises what `do` raises."""
    try:
        return do()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        logger.warning("the device's memory ran out; trying again with what can be freed")
    # Only here, where nothing holds the failed one's tensors any more.
    free()
    release()
    return do()


def release() -> None:
    """Give the memory back that torch keeps for later, and first what only a garbage collection frees: Python collects by
    number, and weights are few."""
    gc.collect()
    give_back()


def give_back() -> None:
    """Give the memory back that torch keeps for later, as far as nothing holds it: a moment, where `release` takes longer."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
