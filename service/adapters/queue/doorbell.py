"""Ringing: one thread sends, so that a broker that hangs costs the caller 500 ms and the next caller no more."""

import logging
import threading
import time

from service.adapters.queue.celery import WAKE, make_celery

log = logging.getLogger(__name__)
WAIT_SECONDS = 0.5
QUIET_SECONDS = 60.0


class Doorbell:
    """Rings are counted, and a message that is sent after a ring answers it, and all before it."""

    def __init__(self, broker_url: str) -> None:
        self._app = make_celery(broker_url)
        self._app.conf.broker_transport_options = {
            "socket_connect_timeout": WAIT_SECONDS,
            "socket_timeout": WAIT_SECONDS,
            "retry_on_timeout": False,
            "max_retries": 0,
        }
        self._state = threading.Condition()
        self._rung = self._answered = 0
        self._thread: threading.Thread | None = None
        self._last_complaint = -QUIET_SECONDS

    def ring(self) -> None:
        with self._state:
            self._rung += 1
            mine = self._rung
            if self._thread is None:  # not at construction: a process that forks or never rings has no thread
                self._thread = threading.Thread(target=self._send_forever, name="doorbell", daemon=True)
                self._thread.start()
            self._state.notify_all()
            self._state.wait_for(lambda: self._answered >= mine, timeout=WAIT_SECONDS)

    def _send_forever(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._rung > self._answered)
                target = self._rung
            self._send()
            with self._state:
                self._answered = target
                self._state.notify_all()

    def _send(self) -> None:
        try:
            self._app.send_task(WAKE, retry=False, ignore_result=True)
        except Exception as error:  # whatever it is: workers look by themselves too
            now = time.monotonic()
            if now - self._last_complaint >= QUIET_SECONDS:
                self._last_complaint = now
                log.warning("the broker does not take rings; workers will look by themselves: %s", error)
