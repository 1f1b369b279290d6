"""The proxy passes bytes on unchanged, and each fault does what it says and no more."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.faults.proxy import Proxy, Trap, cut_after, cut_before, stall


class Echo:
    """Answers what it hears; keeps it too."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._talk, args=(self._listener.accept()[0],), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while data := connection.recv(65_536):
                self.heard.append(data)
                connection.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo()) as echo:
        yield echo


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with closing(Proxy("127.0.0.1", echo.port)) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        yield client


def said(client: socket.socket, words: bytes) -> bytes:
    client.sendall(words)
    return client.recv(65_536)


class TestProxy:
    def test_passes_everything_on(self, client: socket.socket) -> None:
        words = b"x" * 300_000
        threading.Thread(target=client.sendall, args=(words,), daemon=True).start()
        back = b""
        while len(back) < len(words):
            back += client.recv(65_536)
        assert back == words

    def test_is_late_by_its_latency(self, proxy: Proxy, client: socket.socket) -> None:
        proxy.latency = 0.2
        began = time.monotonic()
        assert said(client, b"hello") == b"hello"
        assert time.monotonic() - began >= 0.2

    def test_cuts_what_is_open_and_takes_new_ones(self, proxy: Proxy, client: socket.socket) -> None:
        assert said(client, b"hello") == b"hello"
        assert proxy.reset_all() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as again:
            assert said(again, b"hello") == b"hello"

    def test_refuses(self, proxy: Proxy) -> None:
        proxy.refusing = True
        with socket.socket() as client, pytest.raises(ConnectionResetError):
            client.settimeout(5)
            client.connect(("127.0.0.1", proxy.port))
            client.recv(1)

    def test_swallows(self, proxy: Proxy, client: socket.socket, echo: Echo) -> None:
        proxy.silent = True
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            said(client, b"hello")
        assert echo.heard == []


class TestTrap:
    def test_springs_as_often_as_it_says(self, proxy: Proxy, client: socket.socket) -> None:
        proxy.trap = Trap(b"COMMIT", cut_before, times=1, skip=1)
        assert said(client, b"BEGIN") == b"BEGIN"
        assert said(client, b"COMMIT") == b"COMMIT"
        with pytest.raises(ConnectionResetError):
            said(client, b"COMMIT")
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as again:
            assert said(again, b"COMMIT") == b"COMMIT"
        assert proxy.trap.sprung == 1

    @pytest.mark.parametrize(("play", "done"), [(cut_before, []), (cut_after, [b"COMMIT"])])
    def test_cuts_before_or_after_the_server_has_it(
        self, proxy: Proxy, client: socket.socket, echo: Echo, play: object, done: list[bytes]
    ) -> None:
        proxy.trap = Trap(b"COMMIT", play)  # type: ignore[arg-type]
        with pytest.raises(ConnectionResetError):
            said(client, b"COMMIT")
        assert echo.heard == done

    def test_stalls_its_own_connection_only(self, proxy: Proxy, client: socket.socket) -> None:
        proxy.trap = Trap(b"PUT", stall)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            said(client, b"PUT")
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as other:
            assert said(other, b"PUT") == b"PUT"
