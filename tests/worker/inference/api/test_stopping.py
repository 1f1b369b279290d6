"""SIGTERM in the process's own thread: nothing new first, the server's own handler afterwards."""

import asyncio
import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from worker.inference.api.stopping import drained_first

LONG = 600.0


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What was told to stop, in its order. The server's handler is in place."""
    told: list[str] = []

    def server(number: int, frame: FrameType | None) -> None:
        told.append("server")

    before = signal.signal(signal.SIGTERM, server)
    yield told
    signal.signal(signal.SIGTERM, before)


def terminated(told: list[str], seconds: float, times: int, until: int) -> None:
    """Sends SIGTERM so often, each after the one before was heard, and waits for so many to be told."""

    async def life() -> None:
        with drained_first(lambda: told.append("endpoint"), seconds):
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGTERM)
                while not told:
                    await asyncio.sleep(0)
            while len(told) < until:
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(life(), 30))


def test_the_server_hears_it_after_the_endpoint(told: list[str]) -> None:
    terminated(told, seconds=0.01, times=1, until=2)
    assert told == ["endpoint", "server"]


def test_the_server_does_not_hear_it_while_the_endpoint_drains(told: list[str]) -> None:
    terminated(told, seconds=LONG, times=1, until=1)
    assert told == ["endpoint"]


def test_a_second_one_is_the_servers_at_once(told: list[str]) -> None:
    terminated(told, seconds=LONG, times=2, until=2)
    assert told == ["endpoint", "server"]


def test_afterwards_it_is_the_servers_again(told: list[str]) -> None:
    terminated(told, seconds=0, times=0, until=0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert told == ["server"]
