"""What the engine has done, as plain numbers: counted by its thread, read from any."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

NAMES = 1000
"""Adapters counted by name; what further ones cost is counted under OTHERS."""
OTHERS = "(others)"


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
    """Since there was work and nothing came of it: no step, no base model loaded; 0 while idle. Now."""
    nfe: Mapping[str, int] = field(default_factory=dict)
    """By adapter reference (several in one request joined by +), and by the base model's name where none is worn."""
    padding_nfe: int = 0
    slot_loads: int = 0
    slot_bytes: int = 0
    """Device memory of the slots, now."""
    splits: int = 0
    """Calls that were split after the device's memory ran out."""


class Tally:
    """The engine's own count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._calls: Counter[int] = Counter()
        self._samples: Counter[int] = Counter()
        self._nfe: Counter[str] = Counter()
        self._step_seconds = 0.0
        self._slot_bytes = 0
        self._moved: float | None = None
        """When something last came of the work that is there; None while idle."""

    def count(self, what: str, by: int = 1) -> None:
        """finished, failed, aborted, splits"""
        with self._lock:
            self._counts[what] += by

    def loaded(self, slots: int, slot_bytes: int) -> None:
        """So many slots were filled, and all slots now take so much memory."""
        with self._lock:
            self._counts["slot_loads"] += slots
            self._slot_bytes = slot_bytes

    def stepped(self, size: int, samples: int, seconds: float, padding_nfe: int) -> None:
        with self._lock:
            self._calls[size] += 1
            self._samples[size] += samples
            self._step_seconds += seconds
            self._counts["padding_nfe"] += padding_nfe

    def spent(self, name: str, nfe: int) -> None:
        with self._lock:
            self._nfe[name if name in self._nfe or len(self._nfe) < NAMES else OTHERS] += nfe

    def moved(self, *, busy: bool = True) -> None:
        """Something came of the work, or (`busy=False`) there is none."""
        self._moved = time.monotonic() if busy else None

    def figures(self, *, waiting: int, running: int) -> Figures:
        moved = self._moved
        with self._lock:
            return Figures(
                waiting=waiting,
                running=running,
                calls=dict(self._calls),
                samples=dict(self._samples),
                step_seconds=self._step_seconds,
                stalled_seconds=0.0 if moved is None else time.monotonic() - moved,
                nfe=dict(self._nfe),
                slot_bytes=self._slot_bytes,
                **{
                    name: self._counts[name]
                    for name in ("finished", "failed", "aborted", "padding_nfe", "slot_loads", "splits")
                },
            )
