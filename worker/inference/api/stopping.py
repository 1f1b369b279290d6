"""SIGTERM, heard before the server hears it: nothing new is taken while the port still answers, and only then does it close.

uvicorn closes its port at once and waits for its connections. Callers would find nobody there, and a load balancer would
not have seen /readyz fail. So for `seconds` new requests are told `draining`, what runs goes on, and the signal is handed
to the server after that. Who does not want to wait sends it again, or SIGINT.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def drained_first(refuse: Callable[[], None], seconds: float) -> Iterator[None]:
    """In the event loop of a server that has its signal handlers in place; nothing where there are none to stand before."""
    servers = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(servers):
        yield
        return
    loop, heard = asyncio.get_running_loop(), False
    timer: asyncio.TimerHandle | None = None

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if heard:
            servers(number, frame)
        heard = True
        loop.call_soon_threadsafe(begin)

    def begin() -> None:
        nonlocal timer
        if timer is None:
            refuse()
            timer = loop.call_later(seconds, servers, signal.SIGTERM, None)

    signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        if timer:
            timer.cancel()
        signal.signal(signal.SIGTERM, servers)
