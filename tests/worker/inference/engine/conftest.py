"""An engine over arithmetic that counts."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import JobFailure
from tests.eventually import eventually
from tests.worker.inference.counting import CountingFamily, Gate, entry
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import (
    Draw,
    Ticket,
)

Make = Callable[..., Engine]


class Clock:
    """Seconds that pass only where a test lets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float) -> None:
        self.now += seconds


class Bench:
    """An engine over counting families, by the base's name. `before_load(name)` runs before each load of a base."""

    def __init__(self, **words: Any) -> None:
        self.families: dict[str, CountingFamily] = {}
        self.loaded: list[str] = []
        self.before_load: Callable[[str], object] = lambda name: None
        self.engine = Engine(self._load, **{"slots": 4, "slot_rank": 4, **words})

    def _load(self, base: BaseModelEntry, folder: Path) -> CountingFamily:
        if "broken" in base.name:
            raise JobFailure("there is no such folder")
        self.before_load(base.name)
        self.loaded.append(base.name)
        return self.families.setdefault(base.name, CountingFamily())

    @property
    def family(self) -> CountingFamily:
        """Of the base that draws name by default; loaded here where it is not."""
        if "counting" not in self.families:
            self.engine.exclusively(entry(), lambda served: None).result(60)
        return self.families["counting"]

    def held(self) -> Gate:
        """From now on the engine waits before its next call."""
        gate = Gate()
        self.family.before_call = gate
        return gate

    def closes_behind(self, gate: Gate) -> None:
        """The engine is closed while a call is held; then the call goes on, and the engine ends."""
        closing = threading.Thread(target=self.engine.close)
        closing.start()
        eventually(lambda: not self.engine.alive)
        gate.opened.set()
        closing.join(60)

    def together(self, *draws: Draw, watch: Callable[[list[Ticket]], object] = lambda tickets: None) -> list[Ticket]:
        """All of them submitted, and `watch` called with their tickets, before the first call."""
        leave = threading.Event()
        held = self.engine.exclusively(entry(), lambda served: leave.wait(60))
        tickets = [self.engine.submit(draw) for draw in draws]
        watch(tickets)
        leave.set()
        assert held.result(60)
        return tickets

    def alone(self, draw: Draw) -> np.ndarray:
        """What a request draws in an engine of its own."""
        bench = Bench()
        try:
            return bench.engine.submit(draw).result(60).pictures
        finally:
            bench.engine.close()


class Shelf:
    """Folders of bases: those of `away` come when `arrived` is set, or fail once for each of `failures`."""

    def __init__(self, *away: str) -> None:
        self.away, self.arrived = away, threading.Event()
        self.asked: list[str] = []
        self.failures: list[Exception] = []

    def fetch(self, base: BaseModelEntry) -> Path:
        self.asked.append(base.name)
        if base.name in self.away:
            assert self.arrived.wait(60)
            if self.failures:
                raise self.failures.pop()
        return Path(base.source)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.engine.close()
