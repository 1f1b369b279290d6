"""The engine between two threads' doors: requests come in, `turn` does one thing on the device. One thread calls it.

Each turn: what nobody wants any more is dropped; then work that was asked to have the base for itself, or one denoiser
call: chosen fairly (`roster.py`), padded, and taken apart where it fails, so that a sample that cannot be drawn fails
alone and one that does not fit into memory beside others is drawn beside fewer.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import torch

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import StropError
from worker.inference.engine.figures import Tally
from worker.inference.engine.limits import Limits, is_out_of_memory
from worker.inference.engine.requests import OutOfMemory, Partial
from worker.inference.engine.resident import Resident
from worker.inference.engine.roster import Roster
from worker.inference.engine.running import PictureRun, Running
from worker.inference.engine.served import Served, padded

logger = logging.getLogger(__name__)


class Loop:
    """Single-threaded. `load` makes a base ready; `slots`: different adapters in one call."""

    def __init__(
        self, load: Callable[[BaseModelEntry], Served], tally: Tally, *, slots: int, loaded_bases: int
    ) -> None:
        self._resident = Resident(load, loaded_bases)
        self._tally, self._slots = tally, slots
        self._roster: Roster[PictureRun] = Roster()
        self._requests: dict[Running, None] = {}
        self._exclusive: deque[tuple[BaseModelEntry, Callable[[Served], Any], Future[Any]]] = deque()
        self._evicted: set[str] = set()
        self._limits = Limits()
        self._seconds = 0.0
        self.pace = 1.0
        """Device seconds that a request has lately taken."""

    def admit(self, request: Running) -> None:
        self._requests[request] = None
        for run in request.runs:
            self._roster.add(run)

    def do(self, base: BaseModelEntry, work: Callable[[Served], Any], future: "Future[Any]") -> None:
        self._exclusive.append((base, work, future))

    def evict(self, sha256: str) -> None:
        """Take the adapter out of every slot as soon as no sample on its way wears it."""
        self._evicted.add(sha256)

    @property
    def empty(self) -> bool:
        return not self._requests and not self._exclusive

    def refuse_waiting(self, error: Exception) -> None:
        """Fail every request that has not begun, and work that waits."""
        for request in [each for each in self._requests if each.began is None]:
            self._fail(request, error)
        while self._exclusive:
            future = self._exclusive.popleft()[2]
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def refuse_all(self, error: Exception) -> None:
        for request in list(self._requests):
            self._fail(request, error)

    def turn(self) -> bool:
        """One thing, or False where there is nothing to do until something comes."""
        self._sweep()
        busy = {run.shape.base for run in self._roster if run.begun}
        if self._exclusive and self._resident.can_have(self._exclusive[0][0], busy):
            self._alone(busy)
            return True
        leaving = self._leaving(busy)

        def ready(run: PictureRun) -> bool:
            if run.begun:
                return True
            base = run.shape.base
            return run.request.loaded and base != leaving and self._resident.can_have(base, busy)

        runs = self._roster.choose(ready, self._fits)
        if not runs:
            return False
        self._take(runs, busy)
        return True

    # What comes next

    def _sweep(self) -> None:
        for request in list(self._requests):
            if request.ticket.done:
                self._tally.count("aborted")
                self._forget(request)
            elif request.began is None and (trouble := request.trouble):
                self._fail(request, trouble)
        worn = {sha256 for run in self._roster for sha256, _ in run.worn}
        for sha256 in self._evicted - worn:
            for served in self._resident:
                served.slots.drop(sha256)
        self._evicted &= worn

    def _leaving(self, busy: set[BaseModelEntry]) -> BaseModelEntry | None:
        """The base that begins no more samples, because another one waits for its room."""
        wanted = {run.shape.base for run in self._roster if run.request.loaded}
        wanted |= {base for base, _, _ in self._exclusive}
        if all(self._resident.can_have(base, busy) for base in wanted):
            return None
        return self._resident.oldest()

    def _fits(self, run: PictureRun, chosen: list[PictureRun]) -> bool:
        if len(chosen) >= (run.shape.pinned or self._limits.of(run.shape.base)):
            return False
        return len({each.worn for each in (*chosen, run) if each.worn}) <= self._slots

    # One thing

    def _alone(self, busy: set[BaseModelEntry]) -> None:
        base, work, future = self._exclusive.popleft()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work(self._resident.get(base, busy)))
            except Exception as error:
                future.set_exception(error)
        self._tally.moved()

    def _take(self, runs: list[PictureRun], busy: set[BaseModelEntry]) -> None:
        base = runs[0].shape.base
        _, count = self._size(runs)
        runs = runs[:count]
        for run in runs:
            run.request.began = run.request.began or time.monotonic()
        try:
            served = self._resident.get(base, busy)
        except Exception as error:
            for request in dict.fromkeys(run.request for run in runs):
                self._fail(request, error)
            return
        self._tally.moved()
        begun = [run for run in runs if self._begin(served, run)]
        self._roster.charge(begun)
        self._advance(served, begun)

    def _begin(self, served: Served, run: PictureRun) -> bool:
        request, draw = run.request, run.request.draw
        if request.ticket.done:  # another picture of it has just failed
            return False
        if run.sample:
            return True
        try:
            if not request.ticket.steps_done:
                request.warnings = served.family.truncations([draw.prompt, draw.negative])
            run.sample = served.begin(
                draw.prompt,
                draw.seed + run.index,
                guidance=draw.guidance,
                steps=draw.steps,
                negative=draw.negative,
                wearing=request.wearing,
                scheduler=request.scheduler,
            )
        except Exception as error:
            self._fail(request, error)
            return False
        return True

    def _advance(self, served: Served, runs: list[PictureRun]) -> None:
        while runs := [run for run in runs if run.request in self._requests]:
            size, count = self._size(runs)
            self._call(served, runs[:count], size)
            runs = runs[count:]

    def _size(self, runs: list[PictureRun]) -> tuple[int, int]:
        shape = runs[0].shape
        return (shape.pinned, len(runs)) if shape.pinned else padded(len(runs), self._limits.of(shape.base))

    def _call(self, served: Served, runs: list[PictureRun], size: int) -> None:
        began = time.monotonic()
        loads = served.slots.loads
        try:
            nfe = served.step([run.sample for run in runs if run.sample], size)
        except Exception as error:
            if is_out_of_memory(error):
                failure: Exception = error.with_traceback(None)  # whose frames hold the tensors
            else:
                failure = error
                if len(runs) == 1:
                    logger.warning("a step failed", exc_info=True)
        else:
            seconds = time.monotonic() - began
            self._seconds += seconds
            if served.slots.loads > loads:
                self._tally.loaded(served.slots.loads - loads, sum(each.slots.bytes for each in self._resident))
            self._tally.stepped(size, len(runs), seconds, nfe * (size - len(runs)))
            self._tally.moved()
            self._limits.calm(runs[0].shape.base)
            for run in runs:
                self._stepped(served, run, nfe)
            return
        self._apart(served, runs, size, failure)

    def _apart(self, served: Served, runs: list[PictureRun], size: int, failure: Exception) -> None:
        """After a call that failed, of which nothing remains: again in parts, down to the sample that is at fault."""
        shape = runs[0].shape
        if not is_out_of_memory(failure):
            if len(runs) == 1:
                self._fail(runs[0].request, failure)
            else:
                for run in runs:
                    if run.request in self._requests:
                        self._call(served, [run], shape.pinned or 1)
            return
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._tally.count("splits")
        if shape.pinned or size == 1:
            remedy = "pin a smaller batch_size or none" if shape.pinned and shape.pinned > 1 else "use a smaller model"
            for run in runs:
                self._fail(
                    run.request, OutOfMemory(f"A call of {size} does not fit into the device's memory: {remedy}.")
                )
            return
        logger.warning("a call of %d did not fit into memory; going on in calls of %d", size, size // 2)
        self._limits.halve(shape.base, size)
        self._advance(served, runs)

    # What came of it

    def _stepped(self, served: Served, run: PictureRun, nfe: int) -> None:
        request, sample = run.request, run.sample
        assert sample is not None
        self._tally.spent(request.name, nfe)
        request.ticket.steps_done += 1
        try:
            if request.watch and (number := request.previews.get(sample.place)) and not request.ticket.done:
                self._show(request, Partial(run.index, number, request.draw.partials, served.preview(sample)))
            if not sample.done:
                return
            request.pictures[run.index] = served.picture(sample)
        except Exception as error:
            self._fail(request, error)
            return
        if request in self._requests:
            self._roster.remove(run)
            if all(picture is not None for picture in request.pictures):
                self._finish(request)

    def _show(self, request: Running, partial: Partial) -> None:
        try:
            assert request.watch is not None
            request.watch(partial)
        except Exception:
            logger.exception("a preview was not taken")

    def _finish(self, request: Running) -> None:
        self.pace = 0.7 * self.pace + 0.3 * self._seconds
        self._seconds = 0.0
        aborted = request.ticket.done
        self._tally.count("aborted" if aborted else "finished")
        del self._requests[request]
        request.ticket.finish(request.drawn())

    def _fail(self, request: Running, error: Exception) -> None:
        if request not in self._requests:
            return
        logger.warning("drawing failed: %s", error, exc_info=None if isinstance(error, StropError) else error)
        self._tally.count("failed")
        self._forget(request)
        request.ticket.fail(error)

    def _forget(self, request: Running) -> None:
        del self._requests[request]
        for run, picture in zip(request.runs, request.pictures, strict=True):
            if picture is None:
                self._roster.remove(run)
