"""Waiting for the engine without holding a thread, and no longer than the client does."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from contextlib import suppress

from starlette.requests import Request
from starlette.types import Receive

from service.domain.errors import Unavailable
from worker.inference.engine.requests import Drawn, Ticket


class ClientGone(Exception):
    """The client went away; its request is aborted."""


async def drawn(ticket: Ticket, request: Request) -> Drawn:
    """What the ticket comes to. When the client goes away, or this waiting ends for another reason, no step more is taken.

    Raises ClientGone, and what the request failed with.
    """
    done = asyncio.Event()
    tell(ticket, done.set)
    finished = asyncio.create_task(done.wait())
    gone = asyncio.create_task(_disconnected(request.receive))
    try:
        await asyncio.wait({finished, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not done.is_set():
            raise ClientGone
        return outcome(ticket)
    finally:
        finished.cancel()
        gone.cancel()
        ticket.abort()


def tell(ticket: Ticket, call: Callable[[], None]) -> None:
    """`call` in this event loop once the ticket is done."""
    loop = asyncio.get_running_loop()
    ticket.add_done_callback(lambda _: hand_over(loop, call))


def hand_over(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """From any thread; where the loop has ended, nobody waits any more."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


def outcome(ticket: Ticket) -> Drawn:
    """Of a ticket that is done."""
    try:
        return ticket.result(0)
    except concurrent.futures.CancelledError:
        raise Unavailable("The request was given up before its pictures were there.") from None


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
