"""One denoiser call after the other: samples begin, are stepped together, and become pictures; each trouble stays its owner's.

A call is padded, and taken apart where it fails, so that a sample that cannot be drawn fails alone and one that does not
fit into memory beside others is drawn beside fewer. Where memory runs out elsewhere, base models that nobody draws with
make room, and it is tried once more.
"""

import logging
import time
from collections.abc import Callable

from service.domain.catalogue import BaseModelEntry
from worker.inference.engine.figures import Tally
from worker.inference.engine.limits import Limits, give_back, is_out_of_memory, with_room
from worker.inference.engine.requests import OutOfMemory, Partial
from worker.inference.engine.resident import Resident
from worker.inference.engine.running import DISTILLED, PictureRun, Running
from worker.inference.engine.served import Sample, Served, padded
from worker.inference.engine.underway import UnderWay

logger = logging.getLogger(__name__)


class Calls:
    """The engine's own. `clock`: seconds."""

    def __init__(self, resident: Resident, under_way: UnderWay, tally: Tally, clock: Callable[[], float]) -> None:
        self._resident, self._under_way, self._tally, self._clock = resident, under_way, tally, clock
        self._limits = Limits()

    def most(self, run: PictureRun) -> int:
        """Samples that a call of its shape may have."""
        return run.shape.pinned or self._limits.of(run.shape.base)

    def take(self, runs: list[PictureRun]) -> None:
        """A step for as many of `runs`, which are of one shape, as fill a call without much padding."""
        shape, count = runs[0].shape, self._size(runs)[1]
        base = shape.base
        self._under_way.roster.leave_out(shape, runs[count:])
        runs = runs[:count]
        for run in runs:
            run.request.began = run.request.began or time.monotonic()
        try:
            served = self._resident.get(base, self._under_way.busy)
        except Exception as error:
            failing = {run.request for run in runs}
            self._under_way.fail_where(lambda each: each in failing, error)
            return
        begun = [run for run in runs if self._begin(served, run)]
        begun = [run for run in begun if run.request in self._under_way]  # another picture of it may have failed since
        if begun:
            self._under_way.roster.charge(begun, self._size(begun)[0])
        self._advance(served, begun)

    def _begin(self, served: Served, run: PictureRun) -> bool:
        request = run.request
        if request.ticket.done:  # another picture of it has just failed
            return False
        if run.sample:
            return True
        try:
            run.sample = with_room(lambda: _sample(served, run), lambda: self._free(run.shape.base))
        except Exception as error:
            self._under_way.fail(request, error)
            return False
        return True

    def _advance(self, served: Served, runs: list[PictureRun]) -> None:
        while runs := [run for run in runs if run.request in self._under_way]:
            size, count = self._size(runs)
            self._call(served, runs[:count], size)
            runs = runs[count:]

    def _size(self, runs: list[PictureRun]) -> tuple[int, int]:
        shape = runs[0].shape
        return (shape.pinned, len(runs)) if shape.pinned else padded(len(runs), self._limits.of(shape.base))

    def _call(self, served: Served, runs: list[PictureRun], size: int) -> None:
        began = self._clock()
        loads = served.slots.loads
        try:
            nfe = served.step([run.sample for run in runs if run.sample], size)
        except Exception as error:
            if is_out_of_memory(error):
                failure: Exception = error.with_traceback(None)  # whose frames hold the tensors
            else:
                failure = error
                self._tally.step_failed()
                if len(runs) == 1:
                    logger.warning("a step failed", exc_info=True)
        else:
            seconds = self._clock() - began
            self._under_way.seconds += seconds
            if served.slots.loads > loads:
                self._tally.count("slot_loads", served.slots.loads - loads)
                self._resident.count_slots()
            self._tally.stepped(size, len(runs), seconds, nfe * (size - len(runs)))
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
                self._under_way.fail(runs[0].request, failure)
            else:
                for run in runs:
                    if run.request in self._under_way:
                        self._call(served, [run], shape.pinned or 1)
            return
        give_back()
        self._tally.count("splits")
        if not shape.pinned and size > 1:
            logger.warning("a call of %d did not fit into memory; going on in calls of %d", size, size // 2)
            self._limits.halve(shape.base, size)
            self._advance(served, runs)
        elif self._free(shape.base):
            self._advance(served, runs)
        else:
            remedy = "pin a smaller batch_size or none" if shape.pinned and shape.pinned > 1 else "use a smaller model"
            error = OutOfMemory(f"A call of {size} does not fit into the device's memory: {remedy}.")
            for run in runs:
                self._under_way.fail(run.request, error)

    def _free(self, base: BaseModelEntry) -> bool:
        """Make room for `base`."""
        return self._resident.free(self._under_way.busy | {base})

    def _stepped(self, served: Served, run: PictureRun, nfe: int) -> None:
        request, sample = run.request, run.sample
        assert sample is not None
        self._tally.spent(request.name, nfe)
        request.ticket.steps_done += 1
        if request.watch and (number := request.previews.get(sample.place)) and not request.ticket.done:
            _show(served, run, sample, number)
        if not sample.done:
            return
        try:
            picture = with_room(lambda: served.picture(sample), lambda: self._free(run.shape.base))
        except Exception as error:
            self._under_way.fail(request, error)
            return
        if request in self._under_way:
            request.pictures[run.index] = picture
            self._under_way.drawn(run)


def _sample(served: Served, run: PictureRun) -> Sample:
    request, draw = run.request, run.request.draw
    if not request.ticket.steps_done:
        request.warnings = _warnings(served, run)
    return served.begin(
        draw.prompt,
        draw.seed + run.index,
        guidance=draw.guidance,
        steps=draw.steps,
        negative=draw.negative,
        wearing=request.wearing,
        scheduler=request.scheduler,
    )


def _warnings(served: Served, run: PictureRun) -> tuple[str, ...]:
    """What the model will not see of the request's words."""
    draw = run.request.draw
    if not draw.negative or run.shape.guided:
        return served.family.truncations([draw.prompt, draw.negative])
    distilled = draw.base.family in DISTILLED
    why = f"{draw.base.name} has no classifier-free guidance" if distilled else "it needs a guidance_scale above 1"
    return (*served.family.truncations([draw.prompt]), f"negative_prompt has no effect: {why}")


def _show(served: Served, run: PictureRun, sample: Sample, number: int) -> None:
    """A preview is a favour: where it cannot be made or handed over, the picture still comes."""
    request: Running = run.request
    try:
        assert request.watch is not None
        request.watch(Partial(run.index, number, request.draw.partials, served.preview(sample)))
    except Exception:
        logger.exception("a preview was not shown")
