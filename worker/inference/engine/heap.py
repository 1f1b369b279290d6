"""What the process keeps of the memory that a CPU's work came through: bounded, and given back now and then.

oneDNN compiles a convolution anew for each shape and keeps the last 1024 of them. Calls of many sizes fill that slowly,
with nothing leaked; a U-Net of SD1.5's has some 60 shapes for each size of call. And glibc keeps what was freed, in pieces
between what was not, until it is asked for it.
"""

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

PRIMITIVES = 256
EVERY = 10.0
"""Seconds between two givings back, each of which takes milliseconds."""


def bound_primitives() -> None:
    """To be called before the first convolution of the process: oneDNN reads the variable once. One that is set stays."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))


class Heap:
    """`clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._last = clock, clock()
        self._trim = _glibc_trim()

    def give_back(self) -> bool:
        """Whether it was time to."""
        if self._clock() - self._last < EVERY:
            return False
        self._trim(0)
        self._last = self._clock()
        return True


def _glibc_trim() -> Callable[[int], Any]:
    """malloc_trim(3), which glibc alone has."""
    try:
        return ctypes.CDLL(None).malloc_trim  # type: ignore[no-any-return]
    except (OSError, AttributeError):
        return lambda pad: 0
