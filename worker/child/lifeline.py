"""The pipe from the parent, as the child's life: it ends with the pipe, and a margin before its lease does."""

import os
import signal
from threading import Thread
from typing import IO

from worker.pipe import Stop, Tick, receive

PARENT_GONE = 75
"""Exit code; nobody is left to read it but a test."""


class Lifeline:
    """Starts listening at once. The lease is a timer of the kernel that nobody handles: it ends a hung child too.

    The parent kills at lease / 6 before the end; half of that later the child does it itself.
    """

    def __init__(self, down: IO[bytes], lease_seconds: float) -> None:
        self._down, self._margin = down, lease_seconds / 12
        self._stop: Stop | None = None
        self._arm(lease_seconds)
        Thread(target=self._listen, name="lifeline", daemon=True).start()

    @property
    def stop(self) -> Stop | None:
        """What the parent last asked, if it asked: look here at every step boundary."""
        return self._stop

    def _listen(self) -> None:
        try:
            for message in receive(self._down):
                if isinstance(message, Tick):
                    self._arm(message.seconds_left)
                elif isinstance(message, Stop):
                    self._stop = message
        finally:
            os._exit(PARENT_GONE)

    def _arm(self, seconds_left: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, max(seconds_left - self._margin, 1e-3))
