"""Waiting for a database or a store that is away: as long as the lease is ours, or as long as the thing is worth."""

from collections.abc import Callable
from threading import Event, Thread
from time import monotonic
from typing import TypeVar

from service.domain.errors import FenceLost, Unavailable
from worker.attempt.watch import Watch

Result = TypeVar("Result")
STORE_SECONDS = 30.0
"""The lease lives in the database, so it would outlast any failure of the store: this is how long one file is tried."""
LAST_STORE_SECONDS = 600.0
"""The same of what a training ends with: without its adapter and its manifest it was in vain."""
_LOOK_SECONDS = 0.1


def patiently(watch: Watch, call: Callable[[], Result], limit: float = float("inf")) -> Result:
    """Call until it is answered. Raises Unavailable after `limit` seconds, FenceLost when the job is no longer ours.

    What has a limit is of the store. It can be done without, so it is not tried again once the job is cancelled; and it may
    take long by itself, so it is left to its fate when the lease is lost, or when a worker that ends has no more time for it.
    """
    until, pause = monotonic() + limit, 0.1
    of_the_store = limit < float("inf")
    while True:
        if watch.lost:
            raise FenceLost
        try:
            return _unless_left(watch, call) if of_the_store else call()
        except Unavailable:
            if monotonic() + pause > until or (of_the_store and (watch.asked == "cancel" or watch.must_leave)):
                raise
            watch.wait(pause)
            pause = min(2 * pause, 5.0)


def _unless_left(watch: Watch, call: Callable[[], Result]) -> Result:
    """In a thread of its own, which nobody waits for once it is left; what it still writes then, its fence refuses."""
    over, answers, errors = Event(), list[Result](), list[BaseException]()

    def run() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            over.set()

    Thread(target=run, name="store", daemon=True).start()
    while not over.wait(_LOOK_SECONDS):
        if watch.lost:
            raise FenceLost
        if watch.must_leave:
            raise Unavailable("the worker ends, and the store has not answered in time")
    if errors:
        raise errors[0]
    return answers[0]
