"""Waiting for a database or a store that is away: as long as the lease is ours, or as long as the thing is worth."""

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from service.domain.errors import FenceLost, Unavailable
from worker.attempt.watch import Watch

Result = TypeVar("Result")
STORE_SECONDS = 30.0
"""The lease lives in the database, so it would outlast any failure of the store: this is how long one file is tried."""


def patiently(watch: Watch, call: Callable[[], Result], limit: float = float("inf")) -> Result:
    """Call until it is answered. Raises Unavailable after `limit` seconds, FenceLost when the job is no longer ours.

    What has a limit can be done without, so it is not tried again once the job is cancelled.
    """
    until, pause = monotonic() + limit, 0.1
    while True:
        if watch.lost:
            raise FenceLost
        try:
            return call()
        except Unavailable:
            if monotonic() + pause > until or (limit < float("inf") and watch.asked == "cancel"):
                raise
            watch.wait(pause)
            pause = min(2 * pause, 5.0)
