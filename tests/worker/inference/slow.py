"""A tiny model whose denoiser can be held: tests see the engine busy for as long as they like, and count its calls."""

import threading
from collections.abc import Callable
from typing import Any

from tests.eventually import eventually
from worker.models.family import Family
from worker.models.load import load


class Held:
    """`load` in place of the real one. While `gate` is not set, each denoiser call after the first `free` ones waits inside;
    `calls` counts all.

    As a context it opens the gate at its end, so that a test that fails before does not wait for ever: enter it last.
    """

    def __init__(self, *, free: int = 0) -> None:
        self.gate = threading.Event()
        self.calls, self.free = 0, free

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()

    def load(self, *given: Any, **named: Any) -> Family:
        family = load(*given, **named)
        family.denoiser.register_forward_pre_hook(self._hold)
        return family

    def _hold(self, *_: object) -> None:
        self.calls += 1
        if self.calls > self.free:
            self.gate.wait()

    def until(self, condition: Callable[[int], bool]) -> int:
        """Waits for the count of calls to meet the condition; returns it."""
        eventually(lambda: condition(self.calls))
        return self.calls
