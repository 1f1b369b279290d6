"""Asynchronous requests: taken at once, fetched later, from any replica.

The process that took a request draws it and keeps its record in the store (`drawn/<tenant>/<id>.json`): when it was taken,
every few seconds while it lives, and at its end with the answer. Another replica answers from that record, and asks for a
cancel by a file beside it, which the owner looks for. A record that nobody has written for LOST_SECONDS has lost its
process: it is told as failed. Nothing of this needs the database.
"""

import concurrent.futures
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from service.domain.errors import Damaged, NotFound, StropError
from service.domain.ids import TenantId, new_drawing_id
from service.domain.outside import Clock
from service.domain.principals import Principal
from service.operations.drawn import DrawnFiles
from service.wire import problems
from service.wire.shapes import Error
from worker.inference.api.answers import Drawing, DrawingProgress
from worker.inference.api.giving import Giving
from worker.inference.api.images import Begun
from worker.inference.api.refusals import STATUSES
from worker.inference.engine.requests import Ticket

BEAT_SECONDS = 2.0
"""How often a live record is written anew where it changed, and a cancel from another replica is looked for."""
LOST_SECONDS = 60.0
ENDED = ("completed", "failed", "cancelled")
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Live:
    """One that this process draws. The lock is held while its record changes or is written: the end is the last word."""

    tenant: TenantId
    record: Drawing
    begun: Begun
    lock: threading.Lock = field(default_factory=threading.Lock)
    stored: Drawing | None = None
    """What the store has."""

    @property
    def is_over(self) -> bool:
        """The store has its end."""
        return self.stored is not None and self.stored.status in ENDED


class Drawings:
    """What asynchronous requests ask, whichever process has them."""

    def __init__(
        self, files: DrawnFiles, giving: Giving, clock: Clock, keep_seconds: int, beat_seconds: float = BEAT_SECONDS
    ) -> None:
        self._files, self._giving, self._clock = files, giving, clock
        self._keep = timedelta(seconds=keep_seconds)
        self._beat = beat_seconds
        self._live: dict[str, _Live] = {}
        self._ends = ThreadPoolExecutor(2, "drawings")
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep_records, name="drawings", daemon=True)
        self._keeper.start()

    def begin(self, principal: Principal, begin: Callable[[], Begun], base_url: str) -> Drawing:
        """Raises what `begin` refuses with, and Unavailable while the store, which is to keep it, is away."""
        begun, now = begin(), self._clock()
        record = Drawing(
            id=new_drawing_id(),
            status="queued",
            model=begun.resolved.reference,
            created_at=now,
            updated_at=now,
            progress=DrawingProgress(step=0, steps=begun.draw.count * begun.draw.steps),
        )
        live = _Live(principal.tenant, record, begun)
        try:
            self._save(live)
        except BaseException:
            begun.ticket.abort()
            raise
        self._live[record.id] = live

        def ended(_: Ticket) -> None:
            self._ends.submit(self._end, live, base_url)  # encoding takes longer than the engine's thread may be held

        begun.ticket.add_done_callback(ended)
        return record

    def get(self, principal: Principal, id: str) -> Drawing:
        """As it is now. Raises NotFound, also when its time is over; Unavailable while the store is away."""
        live = self._mine(principal, id)
        return self._now(live) if live else self._stored(principal, id)

    def cancel(self, principal: Principal, id: str) -> Drawing:
        """Let no step more be taken for it; one that has ended stays as it is. Raises as `get`.

        The record of one that another process draws is as it was: that one hears of it at its next beat, and `get` tells.
        """
        if live := self._mine(principal, id):
            self._cancel(live)
            return self._now(live)
        record = self._stored(principal, id)
        if record.status not in ENDED:
            self._files.put(principal.tenant, f"{id}.cancel", b"")
        return record

    def close(self) -> None:
        """After the engine's end: write what has come to its end, and stop."""
        self._ends.shutdown()
        self._stop.set()
        self._keeper.join()
        for live in list(self._live.values()):
            self._tend(live)

    def _mine(self, principal: Principal, id: str) -> _Live | None:
        live = self._live.get(id)
        return live if live and live.tenant == principal.tenant else None

    def _stored(self, principal: Principal, id: str) -> Drawing:
        try:
            record = Drawing.model_validate_json(self._files.read(principal.tenant, f"{id}.json"))
        except (Damaged, ValueError):
            raise NotFound(f"there is no request {id[:64]!r}, or its time is over") from None
        now = self._clock()
        if record.expires_at and record.expires_at <= now:
            raise NotFound(f"the answer of {id} was kept until {record.expires_at:%Y-%m-%d %H:%M:%S} UTC")
        if record.status not in ENDED and now - record.updated_at > timedelta(seconds=LOST_SECONDS):
            error = Error(code="process_lost", message="The process that drew it is gone; send the request again.")
            return record.model_copy(update={"status": "failed", "error": error})
        return record

    def _now(self, live: _Live) -> Drawing:
        record, step = live.record, live.begun.ticket.steps_done
        if record.status in ENDED:
            return record
        progress = record.progress.model_copy(update={"step": step})
        return record.model_copy(
            update={"status": "in_progress" if step else "queued", "progress": progress, "updated_at": self._clock()}
        )

    def _end(self, live: _Live, base_url: str) -> None:
        """The ticket is done: make the answer, or say why there is none."""
        try:
            answer = self._giving.answer(live.begun, live.begun.ticket.result(0), base_url)
            ended: dict[str, Any] = {"status": "completed", "result": answer}
        except concurrent.futures.CancelledError:
            ended = {"status": "cancelled"}
        except Exception as error:
            ended = {"status": "failed", "error": _told(error, live.record.id)}
        self._finish(live, ended)

    def _cancel(self, live: _Live) -> None:
        live.begun.ticket.abort()
        self._finish(live, {"status": "cancelled"})

    def _finish(self, live: _Live, ended: dict[str, Any]) -> None:
        with live.lock:
            if live.record.status not in ENDED:
                now = self._now(live)
                live.record = now.model_copy(update={**ended, "expires_at": now.updated_at + self._keep})
        self._tend(live)

    def _keep_records(self) -> None:
        while not self._stop.wait(self._beat):
            for live in list(self._live.values()):
                self._tend(live)

    def _tend(self, live: _Live) -> None:
        """Bring the store up to date; what it does not take now, it is offered again at the next beat."""
        try:
            if live.record.status not in ENDED and self._files.has(live.tenant, f"{live.record.id}.cancel"):
                self._cancel(live)
                return
            with live.lock:
                if self._is_stale(live):
                    self._save(live)
        except StropError as error:
            logger.warning("%s is not in the store yet: %s", live.record.id, error.message)
        except Exception:
            logger.exception("%s: a fault of ours", live.record.id)
        expired = live.record.expires_at and live.record.expires_at <= self._clock()
        if live.is_over or expired:
            self._live.pop(live.record.id, None)

    def _is_stale(self, live: _Live) -> bool:
        if live.is_over or live.stored is None:
            return not live.is_over
        now = self._now(live)
        changed = (now.status, now.progress) != (live.stored.status, live.stored.progress)
        return changed or now.updated_at - live.stored.updated_at > timedelta(seconds=LOST_SECONDS / 4)

    def _save(self, live: _Live) -> None:
        record = self._now(live)
        self._files.put(live.tenant, f"{record.id}.json", record.model_dump_json().encode())
        live.stored = record
        if live.is_over:
            with suppress(StropError):
                self._files.remove(live.tenant, f"{record.id}.cancel")


def _told(error: Exception, id: str) -> Error:
    if not isinstance(error, StropError):
        logger.exception("%s failed", id, exc_info=error)
        problem = problems.unexpected(id)
    else:
        problem = problems.of(error, id, {**problems.STATUSES, **STATUSES})
    return Error(code=problem.code, message=problem.detail)
