"""What the engine has done, as plain numbers: counted by its thread, read from any."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.domain.errors import StropError
from worker.inference.engine.limits import is_device_lost, is_out_of_memory

NAMES = 1000
"""Adapters counted by name; what further ones cost is counted under OTHERS."""
OTHERS = "(others)"
EXCLUSIVE = "(exclusive)"
"""What work is counted under that had a base model for itself: receipts."""
FORGIVEN_SECONDS = 60.0
"""After which faults in a row are forgiven: who is sent nothing more could never show that it draws again."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts since the start, unless said otherwise."""

    waiting: int
    """Requests that none of whose samples has begun, now."""
    running: int
    """Requests that have begun, now."""
    finished: int
    failed: int
    aborted: int
    calls: Mapping[int, int] = field(default_factory=dict)
    """Denoiser calls by padded size."""
    samples: Mapping[int, int] = field(default_factory=dict)
    """Samples in them by padded size, padding left out: samples / (size × calls) is how full they were."""
    step_seconds: float = 0.0
    """Spent in them."""
    stalled_seconds: float = 0.0
    """Since there were requests and nothing came of them: no step, no base model loaded; 0 while idle. Now.

    Requests one after the other whose steps all fail are one such time, and the pauses between them are not counted; nor
    is the time in which every request waits for the folder of a base model that is being fetched."""
    device_lost: str = ""
    """What the device failed with, if no step was taken since: as a rule only a new process has it again."""
    faults_in_a_row: int = 0
    """Causes for which requests failed through nothing of theirs, since one was drawn; the last of them within
    FORGIVEN_SECONDS. However many requests one cause fails at once, it counts once."""
    nfe: Mapping[str, int] = field(default_factory=dict)
    """By adapter reference (several in one request joined by +), by the base model's name where none is worn, and under
    EXCLUSIVE."""
    padding_nfe: int = 0
    slot_loads: int = 0
    slot_bytes: int = 0
    """Device memory of the slots, now."""
    splits: int = 0
    """Calls that were split after the device's memory ran out."""


class Tally:
    """The engine's own count. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._calls: Counter[int] = Counter()
        self._samples: Counter[int] = Counter()
        self._nfe: Counter[str] = Counter()
        self._step_seconds = 0.0
        self._slot_bytes = 0
        self._since: float | None = None
        """Since when there have been requests, or since when something last came of them; None while idle."""
        self._failing = 0.0
        """Seconds of earlier requests that nothing came of, because their steps failed."""
        self._failed = False
        """Whether the last step failed."""
        self._device_lost = ""
        self._faults, self._last_fault = 0, 0.0

    def count(self, what: str, by: int = 1) -> None:
        """finished, failed, aborted, splits, slot_loads"""
        with self._lock:
            self._counts[what] += by

    def slots_take(self, slot_bytes: int) -> None:
        """All slots together, now."""
        with self._lock:
            self._slot_bytes = slot_bytes

    def stepped(self, size: int, samples: int, seconds: float, padding_nfe: int) -> None:
        with self._lock:
            self._calls[size] += 1
            self._samples[size] += samples
            self._step_seconds += seconds
            self._counts["padding_nfe"] += padding_nfe
        self.moved()

    def spent(self, name: str, nfe: int) -> None:
        with self._lock:
            self._nfe[name if name in self._nfe or len(self._nfe) < NAMES else OTHERS] += nfe

    # Whether anything comes of the work

    def busy(self) -> None:
        """There are requests, and something could come of them."""
        with self._lock:
            if self._since is None:
                self._since = self._clock()

    def idle(self) -> None:
        """There is none, or none of which anything could come. A device that fails is no better for it, so that time is
        remembered."""
        with self._lock:
            if self._since is not None and self._failed:
                self._failing += self._clock() - self._since
            self._since = None

    def moved(self) -> None:
        """A step was taken, or a base model was loaded."""
        with self._lock:
            self._failing, self._failed, self._device_lost = 0.0, False, ""
            if self._since is not None:
                self._since = self._clock()

    def step_failed(self) -> None:
        """Not for want of memory, which is an answer too."""
        with self._lock:
            self._failed = True

    def look_at(self, error: Exception) -> None:
        """Something failed that had the device."""
        if is_device_lost(error):
            with self._lock:
                self._device_lost = str(error.__cause__ or error).split("\n", 1)[0]

    def fault(self, error: Exception) -> None:
        """Requests failed, of one cause. Refusals and want of memory are answers, and no faults."""
        self.look_at(error)
        if not isinstance(error, StropError) and not is_out_of_memory(error):
            with self._lock:
                self._faults, self._last_fault = self._faults + 1, self._clock()

    def drawn(self) -> None:
        """A request came to its end."""
        with self._lock:
            self._faults = 0

    def figures(self, *, waiting: int, running: int) -> Figures:
        with self._lock:
            return Figures(
                waiting=waiting,
                running=running,
                calls=dict(self._calls),
                samples=dict(self._samples),
                step_seconds=self._step_seconds,
                stalled_seconds=0.0 if self._since is None else self._failing + self._clock() - self._since,
                device_lost=self._device_lost,
                faults_in_a_row=self._faults if self._clock() - self._last_fault < FORGIVEN_SECONDS else 0,
                nfe=dict(self._nfe),
                slot_bytes=self._slot_bytes,
                **{
                    name: self._counts[name]
                    for name in ("finished", "failed", "aborted", "padding_nfe", "slot_loads", "splits")
                },
            )
