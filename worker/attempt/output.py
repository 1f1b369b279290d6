"""What a child prints, as the job's log lines: the first so many as they come, then only the last, against floods."""

from collections import deque
from collections.abc import Callable
from typing import Any

_AS_THEY_COME = 200
_LAST = 50
_BATCH = 20


class LogLines:
    """`write` takes the data of one `job.log` event."""

    def __init__(self, write: Callable[[dict[str, Any]], object]) -> None:
        self._write = write
        self._waiting: list[str] = []
        self._written = 0
        self._held: deque[str] = deque(maxlen=_LAST)
        self._omitted = 0
        self.last = ""
        """The last line that says anything: of a traceback, the one that names the exception."""

    def add(self, line: str) -> None:
        if not line.strip():
            return
        self.last = line.strip()
        if self._written + len(self._waiting) < _AS_THEY_COME:
            self._waiting.append(line)
            if len(self._waiting) >= _BATCH:
                self.flush()
        else:
            self._omitted += len(self._held) == _LAST
            self._held.append(line)

    def flush(self) -> None:
        """Write what has come so far."""
        if self._waiting:
            lines, self._waiting = self._waiting, []
            self._written += len(lines)
            self._write({"lines": lines})

    def close(self) -> None:
        """Write the rest: the last lines, and how many were left out before them."""
        self.flush()
        if self._held:
            self._write({"lines": list(self._held), "omitted": self._omitted})
            self._held.clear()
