"""The requests that were taken and are not done: their places on the roster, and the ways in which they end."""

import logging
from collections.abc import Callable, Iterator

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import StropError
from worker.inference.engine.figures import Tally
from worker.inference.engine.limits import is_out_of_memory
from worker.inference.engine.requests import OutOfMemory
from worker.inference.engine.roster import Roster
from worker.inference.engine.running import PictureRun, Running

logger = logging.getLogger(__name__)


class UnderWay:
    """The engine's own. In the order of their arrival."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._requests: dict[Running, None] = {}
        self.roster: Roster[PictureRun] = Roster()
        self.seconds = 0.0
        """That the device has spent on steps since a request was last drawn."""
        self.pace = 1.0
        """Device seconds that a request has lately taken."""

    def __iter__(self) -> Iterator[Running]:
        return iter(list(self._requests))

    def __contains__(self, request: Running) -> bool:
        return request in self._requests

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def busy(self) -> set[BaseModelEntry]:
        """Base models with samples on their way."""
        return {run.shape.base for run in self.roster if run.begun}

    @property
    def waiting_for(self) -> set[BaseModelEntry]:
        """Base models with samples that have not begun."""
        return {run.shape.base for run in self.roster if not run.begun}

    def admit(self, request: Running) -> None:
        self._requests[request] = None
        for run in request.runs:
            self.roster.add(run)

    def drawn(self, run: PictureRun) -> None:
        """Its picture is there; its request ends with the last one."""
        request = run.request
        self.roster.remove(run)
        if any(picture is None for picture in request.pictures):
            return
        self.pace, self.seconds = 0.7 * self.pace + 0.3 * self.seconds, 0.0
        try:
            drawn = (
                request.drawn()
            )  # for which memory may not suffice; until it is there, the request can still be answered
        except Exception as error:
            self.fail(request, error)
            return
        self._tally.count("aborted" if request.ticket.done else "finished")
        self._tally.drawn()
        del self._requests[request]
        request.ticket.finish(drawn)
        request.release()

    def drop(self, request: Running) -> None:
        """Nobody wants it any more."""
        self._tally.count("aborted")
        self._forget(request)

    def fail(self, request: Running, error: Exception) -> None:
        self.fail_where(lambda each: each is request, error)

    def fail_where(self, which: Callable[[Running], bool], error: Exception) -> None:
        failing = [request for request in self if which(request)]
        if failing:
            self._tally.fault(error)
        for request in failing:
            self._tally.count("failed")
            self._forget(request)
            _tell(request, error)

    def fail_all(self, error: Exception) -> None:
        """Also where the roster does not fit the requests any more."""
        requests, self._requests, self.roster = self._requests, {}, Roster()
        self._tally.fault(error)
        for request in requests:
            self._tally.count("failed")
            _tell(request, error)
            request.release()

    def _forget(self, request: Running) -> None:
        del self._requests[request]
        for run, picture in zip(request.runs, request.pictures, strict=True):
            if picture is None:
                self.roster.remove(run)
        request.release()


def told(error: Exception) -> Exception:
    """The error as the request's owner hears it."""
    return OutOfMemory() if is_out_of_memory(error) else error


def _tell(request: Running, error: Exception) -> None:
    logger.warning("drawing failed: %s", error, exc_info=None if isinstance(error, StropError) else error)
    request.ticket.fail(told(error).with_traceback(None))  # whose frames hold the request
