"""Readiness of a process that serves nobody: when did its loop last go round? Asked over HTTP, on this machine only.

A live process proves nothing (a thread may be dead, a lock taken for ever); a turn of its loop a moment ago does.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from time import monotonic

LOOPBACK = "127.0.0.1"
ASKER_SECONDS = 5.0


class Pulse:
    """Beats whenever the loop has done its turn; missed for more than `patience` seconds, the process is not ready."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._last: float | None = None
        self._ended = False

    def beat(self) -> None:
        self._last = monotonic()

    def end(self) -> None:
        """The process is stopping: it takes nothing more."""
        self._ended = True

    @property
    def quiet(self) -> float | None:
        """Seconds since the last beat; None before the first."""
        return None if self._last is None else monotonic() - self._last

    @property
    def ready(self) -> bool:
        quiet = self.quiet
        return not self._ended and quiet is not None and quiet <= self._patience


@contextmanager
def served(pulse: Pulse, port: int | None) -> Iterator[None]:
    """Answer /readyz and /healthz on a loopback port until the block ends; no port, no answer. Raises OSError if it is taken."""
    if port is None:
        yield
        return
    server = _Server((LOOPBACK, port), _handler(pulse))
    thread = threading.Thread(target=server.serve_forever, name="readiness", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingTCPServer):
    """Not http.server's own: that one asks the resolver for this machine's name before it answers."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


def _handler(pulse: Pulse) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = ASKER_SECONDS

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(HTTPStatus.OK, {"status": "ok"})
            elif self.path == "/readyz":
                quiet = pulse.quiet
                ready = pulse.ready
                told: dict[str, object] = {
                    "status": "ok" if ready else "quiet",
                    "quiet_seconds": None if quiet is None else round(quiet, 3),
                }
                self._answer(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, told)
            else:
                self._answer(HTTPStatus.NOT_FOUND, {"status": "unknown"})

        def _answer(self, status: HTTPStatus, told: dict[str, object]) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            """Health checks are no news."""

    return Handler
