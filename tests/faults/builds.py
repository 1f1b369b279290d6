"""Builds of Strop with one thing taken out, so that a test can see the checker see it; and the clock of a worker, shifted.

Only the tests' entry points (worker_app.py, gateway_app.py) call this, by the variable FAULTS_BUILD.
"""

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any


def no_fence() -> None:
    """Whoever knows the job's id may write, and a worker believes in its lease for ever."""
    from service.adapters.db import events, job_writes, jobs, tables
    from worker.attempt.watch import Watch

    def anybody(job: str, fence: int) -> Any:
        return tables.jobs.c.id == job

    for module in (events, job_writes, jobs):
        module.owned_by = anybody  # type: ignore[attr-defined]
    Watch._guard = lambda self: None  # type: ignore[method-assign]


def no_read_back() -> None:
    """What the store says it took is believed."""
    from service.operations import stowing

    stowing.stow = lambda store, key, path, sha256: store.put_file(key, path)


def no_idempotency() -> None:
    """Keys are forgotten at once."""
    from service.adapters.db.idempotency import IdempotencyRows, IdempotencyWrites

    IdempotencyRows.find = lambda self, tenant, key: None  # type: ignore[method-assign]
    IdempotencyWrites.take = lambda self, *given: True  # type: ignore[method-assign]


def no_reaping() -> None:
    """A lease that is over is nobody's business."""
    from service.operations import attempts

    attempts.reap = lambda unit, limits: 0  # type: ignore[attr-defined]


def no_polling() -> None:
    """Only the bell wakes a worker."""
    from worker.tasks import Worker

    Worker._poll = lambda self: None  # type: ignore[method-assign]


def deaf_to_cancel() -> None:
    """The watch sees the state, and thinks nothing of it."""
    from worker.attempt import watch

    watch._STATE_ASKS.clear()


def workers_clock() -> None:
    """Leases are written and judged by the clock of the worker."""
    from sqlalchemy import literal, select

    from service.adapters.db import job_writes
    from service.adapters.db.jobs import HELD, held
    from service.adapters.db.tables import jobs
    from service.adapters.db.types import Moment

    def later(seconds: float) -> Any:
        return literal(datetime.fromtimestamp(time.time() + seconds, UTC), Moment())

    def expired(self: Any, limit: int) -> list[Any]:
        over = select(*HELD).where(jobs.c.lease_until < later(0.0)).limit(limit)
        return [held(row) for row in self._connection.execute(over.with_for_update(skip_locked=True))]

    job_writes.Later = later  # type: ignore[attr-defined]
    job_writes.JobWrites.expired = expired  # type: ignore[method-assign]


def late_bell() -> None:
    """Not broken, but doomed: the gateway dies between the commit and the ring."""
    from service.adapters.queue import Doorbell

    Doorbell.ring = lambda self: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]


BUILDS: dict[str, Callable[[], None]] = {
    build.__name__: build
    for build in (
        no_fence, no_read_back, no_idempotency, no_reaping, no_polling, deaf_to_cancel, workers_clock, late_bell,
    )
}  # fmt: skip


def take_out() -> None:
    """Change this process as FAULTS_BUILD says: names of BUILDS with commas between them."""
    for name in filter(None, os.environ.get("FAULTS_BUILD", "").split(",")):
        BUILDS[name]()
