"""The engine's doors: any thread may knock; one thread owns the models and the device, and draws step by step.

Continuous batching: requests join and leave between steps, and samples of one shape share each denoiser call, whatever
their prompt, progress, guidance, sampler or adapter. `loop.py` is what the thread does.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import FieldError, InvalidRequest
from worker.inference.engine import schedulers
from worker.inference.engine.figures import Figures, Tally
from worker.inference.engine.loop import Loop
from worker.inference.engine.requests import SIZES, Draining, Draw, QueueFull, Ticket, Watch
from worker.inference.engine.running import Running
from worker.inference.engine.served import Served
from worker.models.family import Family

WAITING = 16
"""Requests that may wait; more are refused."""
SLOTS, SLOT_RANK = 16, 32
LOADED_BASES = 2

logger = logging.getLogger(__name__)
Load = Callable[[BaseModelEntry], Family]
T = TypeVar("T")


class Engine:
    """`load` is called in the engine's thread, when a base model is first asked for.

    waiting: requests that may wait before their first step. slots, slot_rank: see `slots.py`. batch_invariant: see
    `invariant.py`.
    """

    def __init__(
        self,
        load: Load,
        *,
        waiting: int = WAITING,
        slots: int = SLOTS,
        slot_rank: int = SLOT_RANK,
        loaded_bases: int = LOADED_BASES,
        batch_invariant: bool = False,
    ) -> None:
        def serve(entry: BaseModelEntry) -> Served:
            return Served(load(entry), slots=slots, rank=slot_rank, batch_invariant=batch_invariant)

        self._most_waiting = waiting
        self._tally = Tally()
        self._loop = Loop(serve, self._tally, slots=slots, loaded_bases=loaded_bases)
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
            waiting = self._waiting()
            if waiting >= self._most_waiting:
                raise QueueFull(retry_after=max(1, round(self._loop.pace * waiting)))
            self._open.add(request)
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
            self._tell(lambda: self._loop.do(base, work, future))
        return future

    def evict(self, sha256: str) -> None:
        """Forget an adapter: out of every slot, once no request that was taken wears it."""
        self._tell(lambda: self._loop.evict(sha256))

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
            news = self._hear(wait=not busy)
            try:
                for item in news:
                    item()
                busy = self._loop.turn()
            except Exception as error:  # ours: no request may wait for ever because of it
                logger.exception("the engine's loop failed")
                self._loop.refuse_all(error)
                busy = True

    def _hear(self, *, wait: bool) -> list[Callable[[], None]]:
        with self._door:
            if wait and not self._stirred:
                self._tally.moved(busy=False)
                self._door.wait_for(lambda: self._stirred)
                self._tally.moved()
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

    def _waiting(self) -> int:
        return sum(request.began is None for request in self._open)

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
