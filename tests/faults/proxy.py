"""A TCP proxy on 127.0.0.1 whose faults are switched while connections are open: latency, resets, cuts, silence, and traps.

One thread runs all its connections. The attributes may be set from any other thread; `close` ends everything.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time left: the close is a RST."""


@dataclass
class Trap:
    """What befalls `times` requests that have `pattern` in what the client sends, after `skip` that go by."""

    pattern: bytes
    play: Callable[["Connection", bytes], Awaitable[None]]
    times: int = 1
    skip: int = 0
    sprung: int = 0

    def catches(self, data: bytes) -> bool:
        if self.sprung >= self.times or self.pattern not in data:
            return False
        self.skip -= 1
        self.sprung += self.skip < 0
        return self.skip < 0


class Connection:
    """One client and its way to the server."""

    def __init__(self, client: "_Stream", server: "_Stream") -> None:
        self.client, self.server = client, server
        self.silent = self.cut_at_answer = False

    def reset(self) -> None:
        """Both sides see a RST; what was under way is lost."""
        for stream in (self.client, self.server):
            stream.reset()


class Proxy:
    """`latency`: seconds before each piece of an answer. `silent`: takes everything, passes nothing on. `refusing`: resets
    whoever comes. `trap`: see there."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.latency = 0.0
        self.silent = self.refusing = False
        self.trap: Trap | None = None
        self._open: set[Connection] = set()
        self._serving: set[asyncio.Task[None] | None] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def reset_all(self) -> int:
        """Cut every open connection; returns how many there were."""

        async def reset() -> int:
            for connection in list(self._open):
                connection.reset()
            return len(self._open)

        return self._call(reset())

    def close(self) -> None:
        async def close() -> None:
            await _rounds()  # whoever has just come is being served then
            self._server.close()
            serving = list(self._serving)
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await _rounds()  # what was closed is gone then

        self._call(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, coroutine):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        client = _Stream(reader, writer)
        try:
            if not self.refusing:
                await self._pass_on(client, _Stream(*await asyncio.open_connection(*self._target)))
        except OSError:  # who is not there cannot be reached through us either
            pass
        finally:
            client.reset()  # nothing, where it was closed before
            self._serving.discard(asyncio.current_task())

    async def _pass_on(self, client: "_Stream", server: "_Stream") -> None:
        connection = Connection(client, server)
        self._open.add(connection)
        pumps = [asyncio.ensure_future(pump) for pump in (self._up(connection), self._down(connection))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(connection)
            client.close()
            server.close()
            for pump in pumps:
                pump.cancel()

    async def _up(self, connection: Connection) -> None:
        while data := await connection.client.read():
            trap = self.trap
            if self.silent or connection.silent:
                continue
            if trap is not None and trap.catches(data):
                await trap.play(connection, data)
            else:
                await connection.server.write(data)

    async def _down(self, connection: Connection) -> None:
        while data := await connection.server.read():
            if connection.cut_at_answer:
                connection.reset()
                return
            if self.latency:
                await asyncio.sleep(self.latency)
            if not (self.silent or connection.silent):
                await connection.client.write(data)


async def _rounds() -> None:
    """A few of the loop's: it does much of what it is asked in the next one."""
    for _ in range(10):
        await asyncio.sleep(0)


class _Stream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        """Empty at the end, whichever it was."""
        with contextlib.suppress(OSError):
            return await self._reader.read(CHUNK)
        return b""

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._writer.write(data)
            await self._writer.drain()

    def reset(self) -> None:
        if self._writer.is_closing():
            return
        handle = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()

    def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()


async def cut_before(connection: Connection, data: bytes) -> None:
    """The server never hears of it."""
    connection.reset()


async def cut_after(connection: Connection, data: bytes) -> None:
    """The server does it, and nobody is told: the connection is cut when its answer comes."""
    connection.cut_at_answer = True
    await connection.server.write(data)


async def stall(connection: Connection, data: bytes) -> None:
    """Nothing more on this connection, in either direction."""
    connection.silent = True
