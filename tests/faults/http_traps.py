"""What a store can do to an upload, as traps of the proxy: refuse it, take half of it and hang up, take half of it and lie."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults.proxy import Connection

Play = Callable[[Connection, bytes], Awaitable[None]]
_WRONG = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nContent-Length: 80\r\nConnection: close\r\n\r\n"
    + b"<Error><Code>InternalError</Code><Message>a fault of the test</Message></Error>".ljust(80)
)
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
_TAKEN = b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: 0\r\n\r\n'


async def answer_500(connection: Connection, data: bytes) -> None:
    await connection.client.write(_WRONG)
    connection.client.close()


async def half_then_cut(connection: Connection, data: bytes) -> None:
    """The server gets the head and half of the body, then a RST."""
    head, body, _ = await _whole(connection, data)
    await connection.server.write(_without_expect(head) + body[: len(body) // 2])
    await asyncio.sleep(0.02)  # so that it is more than a head in the server's buffer when the RST comes
    connection.reset()


def half_then_lie(store: Callable[[str, bytes], None]) -> Play:
    """`store(path, half of the body)` is all that is kept, and the client is told that all is well."""

    async def play(connection: Connection, data: bytes) -> None:
        _, body, path = await _whole(connection, data)
        await asyncio.get_running_loop().run_in_executor(None, store, path, body[: len(body) // 2])
        await connection.client.write(_TAKEN)

    return play


async def _whole(connection: Connection, data: bytes) -> tuple[bytes, bytes, str]:
    """(head with its empty line, body, path) of the request that begins with `data`."""
    while b"\r\n\r\n" not in data:
        data += await connection.client.read()
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if b"expect" in fields and not body:
        await connection.client.write(_GO_ON)
    while len(body) < int(fields.get(b"content-length", b"0")) and (more := await connection.client.read()):
        body += more
    return head + b"\r\n\r\n", body, head.split(b" ", 2)[1].decode()


def _without_expect(head: bytes) -> bytes:
    """Our own 100 Continue has answered it."""
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
