"""`celery -A worker.app worker`: the worker's composition root. No torch: the GPU is the attempts' children's.

The settings are read when Celery asks for `app`; the database, the store and the polling thread begin with the worker.
SIGTERM asks the running attempt to hand its job back, with a checkpoint; the process is gone within STROP_WORKER_STOP_SECONDS in any case.
"""

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
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
from service.telemetry import Pulse
from service.wire.listening import refuse_taken_port
from worker.attempt.attempt import Workplace
from worker.attempt.memory import check_device, memory_gib
from worker.attempt.process import CHILD
from worker.attempt.scratch import Scratch
from worker.attempt.stock import Stock
from worker.attempt.watch import Patience
from worker.tasks import OFFERS, Felt, Worker, pulse_of, register


def patience_of(settings: Settings) -> Patience:
    """15 s for the child and 20 s for the store's answers, of the 28 s that a worker has by default to be gone in."""
    stop = settings.worker_stop_seconds
    return Patience(
        lease=settings.lease_seconds, step_timeout=settings.step_timeout, hand_back=stop * 15 / 28, leave=stop * 20 / 28
    )


def create_worker(settings: Settings, scratch: Scratch, pulse: Pulse, command: Sequence[str] = CHILD) -> Worker:
    """Wire a worker. Its attempts have two ways to the database: heartbeats never queue behind other writes."""
    assert settings.cache_dir is not None
    check_device(settings.device)
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
        keeping=Felt(attempts(connect(settings.database_url, connections=1)), pulse),
        stock=Stock(catalogue.load(settings.catalogue)),
        scratch=scratch,
        cache=settings.cache_dir,
        device=settings.device,
        threads=settings.threads,
        patience=patience_of(settings),
        doorbell=Doorbell(settings.broker_url),
        code_version=version("strop-service"),
        keep_last_checkpoints=settings.keep_last_checkpoints,
        command=command,
    )
    name = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
    memory = settings.worker_memory_gib or memory_gib(settings.device)
    offers = replace(OFFERS, labels=settings.labels(), memory_gib=memory)
    return Worker(name, place, settings.poll_seconds, offers, pulse)


class Host:
    """The worker inside of Celery: made when Celery's worker is, asked to stop by its signals."""

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._settings, self._command = settings, command
        self._worker: Worker | None = None
        self._open = ExitStack()

    def wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    def log(self, **_: object) -> None:
        """In place of Celery's own set-up."""
        telemetry.configure("worker", self._settings.log_level)

    def begin(self, **_: object) -> None:
        """Celery goes on when a receiver raises an Exception; SystemExit ends the process with its sentence."""
        settings = self._settings
        assert settings.scratch_dir is not None
        refuse_taken_port("STROP_WORKER_HEALTH_PORT", telemetry.LOOPBACK, settings.worker_health_port or 0)
        pulse = pulse_of(settings.poll_seconds, settings.lease_seconds)
        try:
            scratch = Scratch(settings.scratch_dir)
            self._open.callback(scratch.close)
            self._open.enter_context(telemetry.served(pulse, settings.worker_health_port))
            self._worker = create_worker(settings, scratch, pulse, self._command)
        except (StropError, OSError) as error:
            raise SystemExit(f"strop: the worker cannot start: {error}") from error
        self._worker.start()

    def stop(self, **_: object) -> None:
        """In Celery's signal handler. Its warm shutdown then waits for the task, and `end` for the polling thread.

        What is not ended in time is left to the lease.
        """
        last = threading.Timer(self._settings.worker_stop_seconds, os._exit, (os.EX_TEMPFAIL,))
        last.daemon = True
        last.start()
        if self._worker is not None:
            self._worker.stop()

    def end(self, **_: object) -> None:
        if self._worker is not None:
            self._worker.join()
        self._open.close()


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
