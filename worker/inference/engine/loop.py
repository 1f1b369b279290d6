"""The engine between two threads' doors: requests come in, `turn` does one thing on the device. One thread calls it.

Each turn is a piece of work that asked to have a base for itself, or one denoiser call: chosen fairly (`roster.py`), made
by `calls.py`. A piece of work is no request and has no account: after one that took T seconds, samples get as long.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from service.domain.catalogue import BaseModelEntry
from worker.inference.engine.calls import Calls
from worker.inference.engine.figures import EXCLUSIVE, Tally
from worker.inference.engine.resident import Resident
from worker.inference.engine.running import PictureRun, Running
from worker.inference.engine.served import Served
from worker.inference.engine.underway import UnderWay, told


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What wants a base model for itself."""

    base: BaseModelEntry
    do: Callable[[Served], Any]
    future: "Future[Any]"

    def fail(self, error: Exception) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(told(error))


class Loop:
    """Single-threaded. slots: different adapters in one call. clock: seconds."""

    def __init__(
        self, resident: Resident, tally: Tally, *, slots: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resident, self._tally, self._slots, self._clock = resident, tally, slots, clock
        self._under_way = UnderWay(tally)
        self._calls = Calls(resident, self._under_way, tally, clock)
        self._works: deque[Work] = deque()
        self._owed = 0.0
        """Seconds that samples are to have before the next piece of work."""
        self._evicted: set[str] = set()

    @property
    def pace(self) -> float:
        """Device seconds that a request has lately taken. Read from any thread."""
        return self._under_way.pace

    @property
    def drawing(self) -> bool:
        """Whether there are requests."""
        return bool(self._under_way)

    @property
    def empty(self) -> bool:
        return not self._under_way and not self._works

    @property
    def awaits_folders(self) -> bool:
        """Whether every request waits for the folder of its base, which takes as long as a download."""
        return not any(self._resident.at_hand(run.shape.base) for run in self._under_way.roster)

    def admit(self, request: Running) -> None:
        self._under_way.admit(request)

    def do(self, work: Work) -> None:
        self._works.append(work)

    def evict(self, sha256: str) -> None:
        """Take the adapter out of every slot as soon as no sample on its way wears it."""
        self._evicted.add(sha256)

    def refuse_waiting(self, error: Exception) -> None:
        """Fail every request that has not begun, and work that waits."""
        self._under_way.fail_where(lambda request: request.began is None, error)
        self._refuse_works(lambda work: True, error)

    def refuse_all(self, error: Exception) -> None:
        self._under_way.fail_all(error)
        self._refuse_works(lambda work: True, error)

    def sweep(self) -> None:
        """Drop what nobody wants any more or what cannot come, and have fetched what is wanted."""
        for request in self._under_way:
            if request.ticket.done:
                self._under_way.drop(request)
            elif request.began is None and (trouble := request.trouble):
                self._under_way.fail(request, trouble)
        wanted = self._under_way.waiting_for | {work.base for work in self._works}
        self._resident.forget_failures(wanted)
        for base in wanted:
            if trouble := self._resident.prepare(base):
                self._under_way.fail_where(lambda request, base=base: request.draw.base == base, trouble)
                self._refuse_works(lambda work, base=base: work.base == base, trouble)
        worn = {sha256 for run in self._under_way.roster for sha256, _ in run.worn}
        for sha256 in self._evicted - worn:
            for served in self._resident:
                served.slots.drop(sha256)
        self._evicted &= worn

    def turn(self) -> bool:
        """One thing, or False where there is nothing to do until something comes. After `sweep`."""
        busy, began = self._under_way.busy, self._clock()
        if self._owed > 0 and self._draw(busy):
            self._owed -= self._clock() - began
            return True
        self._owed = 0.0
        if work := next((each for each in self._works if self._resident.can_have(each.base, busy)), None):
            self._works.remove(work)
            self._alone(work, busy)
            self._owed = self._clock() - began
            return True
        return self._draw(busy)

    def _draw(self, busy: set[BaseModelEntry]) -> bool:
        """One denoiser call, if anybody can have one."""
        leaving = self._leaving(busy)

        def ready(run: PictureRun) -> bool:
            if run.begun:
                return True
            base = run.shape.base
            return run.request.loaded and base != leaving and self._resident.can_have(base, busy)

        runs = self._under_way.roster.choose(ready, self._fits)
        if runs:
            self._calls.take(runs)
        return bool(runs)

    def _leaving(self, busy: set[BaseModelEntry]) -> BaseModelEntry | None:
        """The base that begins no more samples, because another one waits for its room."""
        wanted = {run.shape.base for run in self._under_way.roster if run.request.loaded}
        wanted |= {work.base for work in self._works}
        return self._resident.leaving({base for base in wanted if self._resident.at_hand(base)}, busy)

    def _fits(self, run: PictureRun, chosen: list[PictureRun]) -> bool:
        if len(chosen) >= self._calls.most(run):
            return False
        return len({each.worn for each in (*chosen, run) if each.worn}) <= self._slots

    def _alone(self, work: Work, busy: set[BaseModelEntry]) -> None:
        if not work.future.set_running_or_notify_cancel():
            return
        try:
            served = self._resident.get(work.base, busy)
            before = served.family.counter.total.nfe, served.slots.loads
            try:
                result = work.do(served)
            finally:
                self._count(served, *before)
        except Exception as error:
            self._tally.look_at(error)
            work.future.set_exception(told(error))
        else:
            work.future.set_result(result)

    def _count(self, served: Served, nfe: int, loads: int) -> None:
        """What a piece of work has cost, given what the counters said before it."""
        if spent := served.family.counter.total.nfe - nfe:
            self._tally.spent(EXCLUSIVE, spent)
        self._tally.count("slot_loads", served.slots.loads - loads)
        self._resident.count_slots()

    def _refuse_works(self, which: Callable[[Work], bool], error: Exception) -> None:
        for work in [each for each in self._works if which(each)]:
            self._works.remove(work)
            work.fail(error)
