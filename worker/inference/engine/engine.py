"""The engine's doors: any thread may knock; one thread owns the models and the device, and draws step by step.

Continuous batching: requests join and leave between steps, and samples of one shape share each denoiser call, whatever
their prompt, progress, guidance, sampler or adapter. `loop.py` is what the thread does.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from service.domain.adapters import SERVED_RANK
from service.domain.catalogue import BaseModelEntry
from service.domain.errors import FieldError, InvalidRequest
from worker.inference.engine import schedulers
from worker.inference.engine.figures import Figures, Tally
from worker.inference.engine.heap import Heap
from worker.inference.engine.loop import Loop, Work
from worker.inference.engine.requests import SIZES, Draining, Draw, QueueFull, Ticket, Watch
from worker.inference.engine.resident import Fetch, Resident
from worker.inference.engine.running import Running
from worker.inference.engine.served import Served
from worker.models.family import Family

WAITING = 16
"""Requests of one tenant that may wait; more are refused."""
TENANTS = 8
"""Tenants whose queues may be full; beside so many waiting requests, of all tenants, one of each may wait."""
SLOTS, SLOT_RANK = 16, SERVED_RANK
LOADED_BASES = 2

logger = logging.getLogger(__name__)
Load = Callable[[BaseModelEntry, Path], Family]
T = TypeVar("T")


class Engine:
    """`fetch` finds or brings a base model's folder, in a thread of its own; then `load` is called in the engine's thread.

    waiting: requests of one tenant that may wait before their first step. slots, slot_rank, slot_conv: see `slots.py`.
    batch_invariant: see `invariant.py`. clock: seconds.
    """

    def __init__(
        self,
        load: Load,
        *,
        fetch: Fetch = lambda entry: Path(entry.source),
        waiting: int = WAITING,
        slots: int = SLOTS,
        slot_rank: int = SLOT_RANK,
        slot_conv: bool = True,
        loaded_bases: int = LOADED_BASES,
        batch_invariant: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        def serve(entry: BaseModelEntry, folder: Path) -> Served:
            family = load(entry, folder)
            return Served(family, slots=slots, rank=slot_rank, conv=slot_conv, batch_invariant=batch_invariant)

        self._most_waiting, self._heap = waiting, Heap(clock)
        self._tally = Tally(clock)
        self._resident = Resident(fetch, serve, loaded_bases, self._tally, self._tell, clock=clock)
        self._loop = Loop(self._resident, self._tally, slots=slots, clock=clock)
        self._door = threading.Condition()
        """Held while anything below changes."""
        self._news: list[Callable[[], None]] = []
        """What the engine's thread is to do before its next turn."""
        self._stirred = False
        self._closing = False
        self._open: set[Running] = set()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether requests are taken and drawn."""
        return self._thread.is_alive() and not self._closing

    def submit(self, draw: Draw, watch: Watch | None = None) -> Ticket:
        """Raises InvalidRequest, QueueFull, Draining. `watch` gets `draw.partials` previews of each picture."""
        request = Running(draw, Ticket(), _checked(draw), watch)
        with self._door:
            self._check_open()
            self._check_room(draw.tenant)
            self._open.add(request)
            self._tally.busy()
            self._tell(lambda: self._loop.admit(request))
        request.ticket.add_done_callback(lambda _: self._left(request))
        for worn in draw.adapters:
            worn.adapter.add_done_callback(lambda _: self._tell())
        return request.ticket

    def exclusively(self, base: BaseModelEntry, work: Callable[[Served], T]) -> "Future[T]":
        """Let `work` have the base model for itself, between two steps, in the engine's thread. Raises Draining."""
        future: Future[T] = Future()
        with self._door:
            self._check_open()
            self._tell(lambda: self._loop.do(Work(base, work, future)))
        return future

    def evict(self, sha256: str) -> None:
        """Forget an adapter: out of every slot, once no request that was taken wears it."""
        self._tell(lambda: self._loop.evict(sha256))

    def slotted(self) -> set[str]:
        """Digests of the adapters that lie in slots now, of all bases that are loaded."""
        return {sha256 for served in tuple(self._resident) for sha256 in served.slots.digests}

    def figures(self) -> Figures:
        with self._door:
            waiting = self._waiting()
            running = len(self._open) - waiting
        return self._tally.figures(waiting=waiting, running=running)

    def drain(self, timeout: float | None = None) -> bool:
        """Take no more and wait until all is drawn that was taken; False where that took longer than `timeout` seconds."""
        with self._door:
            self._closing = True
            self._tell()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Take no more, finish what has begun, answer what waits with Draining."""
        with self._door:
            self._closing = True
            self._tell(lambda: self._loop.refuse_waiting(Draining()))
        self._thread.join()

    def _run(self) -> None:
        busy = True
        while not self._over():
            self._take_news(wait=not busy)
            self._guarded(self._sweep)
            busy = self._guarded(self._loop.turn) is not False

    def _take_news(self, *, wait: bool) -> None:
        """In a frame of its own: the last request would be kept by a name in `_run` until the next one comes."""
        for item in self._hear(wait=wait):
            self._guarded(item)

    def _guarded(self, do: Callable[[], T]) -> T | None:
        """What `do` returns. No request may wait for ever because of a fault of ours: then all fail, and None is returned."""
        try:
            return do()
        except Exception as error:
            logger.exception("the engine's loop failed")
            self._loop.refuse_all(error)
            return None

    def _sweep(self) -> None:
        self._loop.sweep()
        self._heap.give_back()
        with self._door:
            if self._news:  # which may be a request that counts from when it came
                return
            if self._loop.drawing and not self._loop.awaits_folders:
                self._tally.busy()
            else:
                self._tally.idle()

    def _hear(self, *, wait: bool) -> list[Callable[[], None]]:
        with self._door:
            if wait:
                self._door.wait_for(lambda: self._stirred)
            self._stirred = False
            news, self._news = self._news, []
        return news

    def _over(self) -> bool:
        with self._door:
            return self._closing and not self._news and self._loop.empty

    def _tell(self, item: Callable[[], None] | None = None) -> None:
        with self._door:
            if item:
                self._news.append(item)
            self._stirred = True
            self._door.notify()

    def _left(self, request: Running) -> None:
        with self._door:
            self._open.discard(request)
            self._tell()

    def _waiting(self, tenant: str | None = None) -> int:
        """Requests, of all tenants or of one."""
        return sum(request.began is None and tenant in (None, request.draw.tenant) for request in self._open)

    def _check_room(self, tenant: str) -> None:
        """One tenant's crowd takes nobody else's place, and many tenants' crowds no tenant's first one."""
        mine, all_ = self._waiting(tenant), self._waiting()
        if mine >= self._most_waiting or (mine and all_ >= TENANTS * self._most_waiting):
            raise QueueFull(retry_after=max(1, round(self._loop.pace * all_)))

    def _check_open(self) -> None:
        if not self.alive:
            raise Draining


def _checked(draw: Draw) -> schedulers.SchedulerName:
    if draw.batch_size not in (None, *SIZES):
        wrong = FieldError(
            "batch_size",
            f"calls are not padded to {draw.batch_size}",
            f"choose one of {', '.join(map(str, SIZES))}, or leave batch_size out",
        )
        raise InvalidRequest(errors=(wrong,), code="unsupported_batch_size")
    return schedulers.check(draw.base.family, draw.scheduler)
