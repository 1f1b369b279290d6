"""What is asked of the engine and what it answers: frozen records, a ticket for each request, and its refusals.

StropError
├── AdapterCorrupt   409: the file is damaged and was not used
├── AdapterRefused   422: the file is whole, but this engine cannot put it on this base
├── NotANumber       422: the denoiser's numbers overflowed with what was asked for
└── Unavailable      503
    ├── QueueFull    429: as many wait as may wait
    ├── Draining     503: the endpoint finishes what it has and takes no more
    ├── NotLoaded    503: the base model could not be loaded a moment ago
    └── OutOfMemory  503: one sample alone does not fit into the device's memory
"""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import InvalidRequest, StropError, Unavailable

logger = logging.getLogger(__name__)

SchedulerName = Literal["ddim", "euler", "dpmpp-2m", "flow-euler"]
SIZES = (1, 2, 4, 8)
"""Samples that a denoiser call may hold, padding included."""


class QueueFull(Unavailable):
    """As many requests wait as this endpoint lets wait; try again after Retry-After seconds."""

    code = "queue_full"


class Draining(Unavailable):
    """The endpoint is stopping: it finishes what it has and takes no more."""

    code = "draining"


class NotLoaded(Unavailable):
    """The base model could not be loaded a moment ago; try again after Retry-After seconds."""

    code = "base_unloadable"

    def __init__(self, message: str | None = None, *, code: str = code, retry_after: int = 5) -> None:
        super().__init__(message, retry_after=retry_after)
        self.code = code


class OutOfMemory(Unavailable):
    """The device has not enough memory for this picture."""

    code = "out_of_memory"


class AdapterCorrupt(StropError):
    """The adapter's file is damaged and was not used."""

    code = "adapter_corrupt"


class AdapterRefused(InvalidRequest):
    """The adapter does not fit this engine or this base model."""

    code = "adapter_refused"


class NotANumber(InvalidRequest):
    """The denoiser's numbers overflowed on the way to this picture."""

    code = "not_a_number"


@dataclass(frozen=True, slots=True)
class LoraFile:
    """An adapter in host memory, checked before it came here; alpha = rank, so its scale is 1.

    layers: name as in `denoiser.named_modules()` → (A [r, in] or a kernel [r, in, k, k], B [out, r] or [out, r, 1, 1]),
    in the dtype of the file. rank: the largest of any layer. bytes: of the file.
    """

    reference: str
    sha256: str
    rank: int
    layers: Mapping[str, tuple[Tensor, Tensor]] = field(repr=False)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Worn:
    """An adapter that a request wears, times `weight`. Its load may be under way: the samples join when it is done."""

    adapter: "Future[LoraFile]" = field(repr=False)
    reference: str
    sha256: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Draw:
    """One request, every name resolved. Picture i starts from the noise of seed + i."""

    tenant: str
    base: BaseModelEntry
    adapters: tuple[Worn, ...]
    """Side by side in one slot; () is the base model alone."""
    prompt: str
    negative: str
    count: int
    seed: int
    steps: int
    guidance: float
    scheduler: SchedulerName | None = None
    """None: the family's own, ddim or flow-euler."""
    batch_size: int | None = None
    """One of SIZES pins the padded size of every denoiser call of this request, and so its bits; None: as it comes."""
    partials: int = 0
    """Previews of each picture on its way."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """pictures uint8 [n, H, W, 3]; nfe counted by the model's own hook, of all n together, without padding.

    steps: for each picture the padded size of each of its denoiser calls, run-length: "8x12,4x8" is twelve steps in
    calls of 8 and eight in calls of 4. The same request with the same sizes has the same bits.
    """

    pictures: np.ndarray = field(repr=False)
    nfe: int
    steps: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds_waiting: float = 0.0
    seconds_running: float = 0.0


@dataclass(frozen=True, slots=True)
class Partial:
    """A preview: picture `index` of the request, `number` (from 1) of `of`. picture uint8 [H, W, 3]."""

    index: int
    number: int
    of: int
    picture: np.ndarray = field(repr=False)


Watch = Callable[[Partial], None]
"""Called in the engine's thread, so it must hand over and return at once; what it raises is logged and forgotten."""


class Ticket:
    """A request on its way, for the thread that waits for it."""

    def __init__(self) -> None:
        self._future: Future[Drawn] = Future()
        self._calls: list[Callable[[Ticket], None]] | None = []
        """Our own and not the future's, which keeps them: what they hold would go with a garbage collection only. None: done."""
        self._lock = threading.Lock()
        self.steps_done = 0
        """Steps that the engine has taken for its samples, of count × steps; 0 while it waits. Read from any thread."""

    def result(self, timeout: float | None = None) -> Drawn:
        """Waits. Raises what the request failed with, CancelledError after `abort`, TimeoutError."""
        return self._future.result(timeout)

    def abort(self) -> None:
        """Nobody wants the pictures any more: no step of theirs begins after the one that runs. Safe to repeat."""
        if self._future.cancel():
            self._tell()

    @property
    def done(self) -> bool:
        """Drawn, failed or aborted."""
        return self._future.done()

    def add_done_callback(self, call: Callable[["Ticket"], None]) -> None:
        """`call(ticket)` once it is done, in the thread that finished it; at once where it is done already."""
        with self._lock:
            if self._calls is not None:
                self._calls.append(call)
                return
        call(self)

    def _tell(self) -> None:
        with self._lock:
            calls, self._calls = self._calls or [], None
        for call in calls:
            try:
                call(self)
            except Exception:
                logger.exception("what was to be done after a request failed")

    # The engine's side. The future stays pending while its samples run, so that `abort` can always cancel it.

    def finish(self, drawn: Drawn) -> None:
        if self._future.set_running_or_notify_cancel():
            self._future.set_result(drawn)
            self._tell()

    def fail(self, error: Exception) -> None:
        if self._future.set_running_or_notify_cancel():
            self._future.set_exception(error)
            self._tell()
