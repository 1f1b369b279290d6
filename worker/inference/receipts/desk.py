"""Where receipts are asked for: one is measured at a time, a few wait, the last ones are remembered, in this process only."""

import logging
import queue
import secrets
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from service.domain.errors import NotFound, StropError
from service.domain.principals import Principal
from service.domain.receipts import Receipt
from service.operations.receipts import Subject
from worker.inference.engine.requests import Draining, QueueFull
from worker.inference.receipts.bench import Bench

WAITING = 8
REMEMBERED = 64

log = logging.getLogger(__name__)
Status = Literal["queued", "in_progress", "completed", "failed"]


@dataclass(slots=True, eq=False)
class Asked:
    """`ended` is done once `receipt` or `error` is there."""

    id: str
    subject: Subject
    created_at: datetime
    status: Status = "queued"
    progress: float = 0.0
    receipt: Receipt | None = None
    error: StropError | None = None
    ended: "Future[None]" = field(default_factory=Future)

    def hear(self, share: float) -> None:
        self.progress = share

    def fail(self, error: StropError) -> None:
        self.error, self.status = error, "failed"
        self.ended.set_result(None)


class Desk:
    """Takes requests from any thread; one thread of its own measures. `close` it before the engine."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._queue: queue.Queue[Asked | None] = queue.Queue(WAITING + 1)
        """One place more than may wait: for the end."""
        self._known: OrderedDict[str, Asked] = OrderedDict()
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="receipts", daemon=True)
        self._thread.start()

    def ask(self, subject: Subject) -> Asked:
        """The same question that is not answered yet is joined. Raises QueueFull, Draining."""
        with self._lock:
            if self._closing:
                raise Draining
            for asked in self._known.values():
                if asked.subject == subject and not asked.ended.done():
                    return asked
            if self._queue.qsize() >= WAITING:
                raise QueueFull("As many receipts wait to be measured as may wait.", retry_after=60)
            asked = Asked(f"rcpt_{secrets.token_hex(12)}", subject, self._bench.clock())
            self._queue.put_nowait(asked)
            self._known[asked.id] = asked
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return asked

    def get(self, principal: Principal, id: str) -> Asked:
        """Raises NotFound."""
        with self._lock:
            asked = self._known.get(id)
        if asked is None or asked.subject.version.tenant != principal.tenant:
            raise NotFound(f"this process knows of no measurement {id[:64]!r}: ask for it again")
        return asked

    def close(self) -> None:
        """Take no more; what waits fails. What runs fails once the engine takes no more work."""
        with self._lock:
            self._closing = True
            while not self._queue.empty():
                waiting = self._queue.get_nowait()
                if waiting:
                    waiting.fail(Draining())
            self._queue.put_nowait(None)

    def _work(self) -> None:
        while asked := self._queue.get():
            asked.status = "in_progress"
            try:
                asked.receipt = self._bench.measure(asked.subject, asked.hear)
                asked.status = "completed"
                asked.ended.set_result(None)
            except StropError as error:
                asked.fail(error)
            except Exception:
                log.exception("measuring %s failed", asked.subject.version.reference)
                asked.fail(StropError("The measurement failed; the endpoint's log has the reason."))
