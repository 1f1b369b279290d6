"""`celery -A worker.app worker`: the worker's composition root. No torch: the GPU is the attempts' children's.

The settings are read when Celery asks for `app`; the database, the store and the polling thread begin with the worker.
SIGTERM asks the running attempt to hand its job back, with a checkpoint; the process is gone within 30 s in any case.
"""

import os
import socket
import threading
from collections.abc import Sequence
from functools import cache, partial
from importlib.metadata import version

from celery import Celery, signals

from service import settings as configuration
from service import telemetry
from service.adapters import catalogue, storage
from service.adapters.db import connect
from service.adapters.queue import Doorbell, make_celery
from service.domain.errors import StropError
from service.operations.attempts import Attempts
from service.settings import Settings
from worker.attempt.attempt import Workplace
from worker.attempt.process import CHILD
from worker.attempt.scratch import Scratch
from worker.attempt.watch import Patience
from worker.tasks import Worker, register

LAST_SECOND = 28.0
"""After SIGTERM. What is not ended by then is left to the lease: 30 s is what supervisors give."""


def create_worker(settings: Settings, scratch: Scratch, command: Sequence[str] = CHILD) -> Worker:
    """Wire a worker. Its attempts have two ways to the database: heartbeats never queue behind other writes."""
    assert settings.cache_dir is not None
    store = storage.make(settings.store_url, settings.s3_endpoint_url, settings.s3_public_url)
    attempts = partial(
        Attempts,
        store=store,
        lease_seconds=settings.lease_seconds,
        attempt_limit=settings.attempt_limit,
        backoff_seconds=settings.backoff_seconds,
    )
    place = Workplace(
        attempts=attempts(connect(settings.database_url)),
        keeping=attempts(connect(settings.database_url, connections=1)),
        catalogue=catalogue.load(settings.catalogue),
        scratch=scratch,
        cache=settings.cache_dir,
        device=settings.device,
        threads=settings.threads,
        patience=Patience(lease=settings.lease_seconds, step_timeout=settings.step_timeout),
        doorbell=Doorbell(settings.broker_url),
        code_version=version("strop-service"),
        command=command,
    )
    name = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
    return Worker(name, place, settings.poll_seconds)


class Host:
    """The worker inside of Celery: made when Celery's worker is, asked to stop by its signals."""

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._settings, self._command = settings, command
        self._worker: Worker | None = None
        self._scratch: Scratch | None = None

    def wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    def log(self, **_: object) -> None:
        """In place of Celery's own set-up."""
        telemetry.configure("worker", self._settings.log_level)

    def begin(self, **_: object) -> None:
        """Celery goes on when a receiver raises an Exception; SystemExit ends the process with its sentence."""
        assert self._settings.scratch_dir is not None
        try:
            self._scratch = Scratch(self._settings.scratch_dir)
            self._worker = create_worker(self._settings, self._scratch, self._command)
        except (StropError, OSError) as error:
            raise SystemExit(f"strop: the worker cannot start: {error}") from error
        self._worker.start()

    def stop(self, **_: object) -> None:
        """In Celery's signal handler. Its warm shutdown then waits for the task, and `end` for the polling thread."""
        last = threading.Timer(LAST_SECOND, os._exit, (os.EX_TEMPFAIL,))
        last.daemon = True
        last.start()
        if self._worker is not None:
            self._worker.stop()

    def end(self, **_: object) -> None:
        if self._worker is not None:
            self._worker.join()
        if self._scratch is not None:
            self._scratch.close()


def create_app(settings: Settings, command: Sequence[str] = CHILD) -> Celery:
    """The Celery app with its one task, on a pool of one thread, and a host that follows its life."""
    celery = make_celery(settings.broker_url)
    host = Host(settings, command)
    register(celery, host.wake)
    for signal, receiver in (
        (signals.setup_logging, host.log),
        (signals.worker_init, host.begin),
        (signals.worker_shutting_down, host.stop),
        (signals.worker_shutdown, host.end),
    ):
        signal.connect(receiver, weak=False)
    return celery


@cache
def _app() -> Celery:
    return create_app(configuration.load())


def __getattr__(name: str) -> Celery:
    """`app` is made when Celery asks for it: an import reads no settings and makes nothing."""
    if name == "app":
        return _app()
    raise AttributeError(name)
