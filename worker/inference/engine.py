"""The loop that owns the models: a bounded queue in front of one thread, which draws one request after another.

A pipeline is not safe to share, so nothing but this thread touches one. What fails, fails its own request only.
Seed contract: picture i of a request starts from the noise of seed + i, which is what plain diffusers draws with
`torch.Generator("cpu").manual_seed(seed + i)`; the n pictures are drawn in calls of 8, 4, 2 and 1, so the same request
takes the same calls and gives the same bits, and `steps` in the answer says which sizes they had.
"""

import logging
import queue
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import StropError, Unavailable
from worker.evaluation.draw import draw
from worker.models.family import Family

SIZES = (8, 4, 2, 1)
"""Pictures in one denoiser call."""
WAITING = 16
"""Requests that may wait; more are refused."""
LOADED_BASES = 2
WORN_ADAPTERS = 8
"""How many stay loaded, each: the least recently used makes room."""

logger = logging.getLogger(__name__)


class QueueFull(Unavailable):
    """As many requests wait as this endpoint lets wait; try again after Retry-After seconds."""

    code = "queue_full"


class AdapterCorrupt(StropError):
    """The adapter's file is damaged and was not used."""

    code = "adapter_corrupt"


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter ready to be worn: bytes that were checked against `sha256`, and how callers name it."""

    reference: str
    sha256: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draw:
    """One request, with everything resolved."""

    base: BaseModelEntry
    adapter: Adapter | None
    prompt: str
    negative: str
    count: int
    seed: int
    steps: int
    guidance: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """pictures uint8 [n, H, W, 3]; nfe counted by the model's own hook; `steps`: size x steps, run by run, 8x20,2x20."""

    pictures: np.ndarray
    nfe: int
    steps: str
    warnings: tuple[str, ...]


Load = Callable[[BaseModelEntry], Family]


class Engine:
    """`submit` from any thread; the models live and are used in the engine's own."""

    def __init__(self, load: Load, *, waiting: int = WAITING) -> None:
        self._load = load
        self._queue: queue.Queue[tuple[Draw, Future[Drawn]] | None] = queue.Queue(waiting)
        self._closing = False
        self._door = threading.Lock()
        """Held while a request is put in and while the engine closes: none can slip in behind the last."""
        self._seconds = 1.0
        self._bases: OrderedDict[BaseModelEntry, _Base] = OrderedDict()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether requests are taken and drawn."""
        return self._thread.is_alive() and not self._closing

    def submit(self, request: Draw) -> "Future[Drawn]":
        """Raises QueueFull, or Unavailable while the endpoint stops."""
        future: Future[Drawn] = Future()
        with self._door:
            if not self.alive:
                raise Unavailable("The endpoint is stopping.")
            try:
                self._queue.put_nowait((request, future))
            except queue.Full:
                raise QueueFull(retry_after=max(1, round(self._seconds * self._queue.qsize()))) from None
        return future

    def close(self) -> None:
        """Take no more, finish what runs, answer what waits with Unavailable."""
        with self._door:
            self._closing = True
            with suppress(queue.Empty):
                while waiting := self._queue.get_nowait():
                    waiting[1].set_exception(Unavailable("The endpoint is stopping."))
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while job := self._queue.get():
            request, future = job
            if not future.set_running_or_notify_cancel():
                continue
            began = time.monotonic()
            try:
                future.set_result(self._base(request.base).draw(request))
            except Exception as error:
                if isinstance(error, AdapterCorrupt):  # half of it may be on: the base is loaded anew
                    self._bases.pop(request.base, None)
                logger.warning("drawing failed: %s", error, exc_info=not isinstance(error, StropError))
                future.set_exception(error)
            self._seconds = time.monotonic() - began

    def _base(self, entry: BaseModelEntry) -> "_Base":
        if entry not in self._bases:
            while len(self._bases) >= LOADED_BASES:
                self._bases.popitem(last=False)
            self._bases[entry] = _Base(self._load(entry))
        self._bases.move_to_end(entry)
        return self._bases[entry]


class _Base:
    """One loaded base model and the adapters that are on it."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._adapters: OrderedDict[str, None] = OrderedDict()

    def draw(self, request: Draw) -> Drawn:
        self._wear(request.adapter)
        before = self.family.counter.total
        calls = split(request.count)
        pictures, first = [], request.seed
        for size in calls:
            drawing = draw(
                self.family,
                [request.prompt] * size,
                range(first, first + size),
                guidance=request.guidance,
                steps=request.steps,
                negatives=[request.negative] * size,
                batch_size=size,
            )
            pictures.append(drawing.pictures)
            first += size
        return Drawn(
            pictures=np.concatenate(pictures),
            nfe=(self.family.counter.total - before).nfe,
            steps=",".join(f"{size}x{request.steps}" for size in calls),
            warnings=self.family.truncations([request.prompt, request.negative]),
        )

    def _wear(self, adapter: Adapter | None) -> None:
        if adapter is None:
            self.family.wear(None)
            return
        name = f"sha_{adapter.sha256}"  # peft takes no dots in a name, and a digest never means another file
        if name not in self._adapters:
            while len(self._adapters) >= WORN_ADAPTERS:
                self.family.drop_adapter(self._adapters.popitem(last=False)[0])
            self._put_on(name, adapter)
            self._adapters[name] = None
        self._adapters.move_to_end(name)
        self.family.wear(name)

    def _put_on(self, name: str, adapter: Adapter) -> None:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # many adapters are what we mean
                self.family.load_adapter(name, adapter.data)
        except Exception as error:
            raise AdapterCorrupt(f"The adapter {adapter.reference} does not fit its base model: {error}") from error


def split(count: int) -> list[int]:
    """The calls that draw `count` pictures: as few as SIZES allow, largest first."""
    calls: list[int] = []
    for size in SIZES:
        calls += [size] * ((count - sum(calls)) // size)
    return calls
