"""The worker's one task: take the next fitting job, run it, again until none is left. Rung by the queue or the clock.

The message only wakes; the database says what is next. One lock guards the device: whoever finds it taken leaves a mark
that the holder reads after the release, so no ring is lost and no two jobs meet.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import get_args

from celery import Celery
from celery.worker import state
from kombu.asynchronous import get_event_loop

from service.adapters.queue import WAKE
from service.domain.catalogue import Family
from service.domain.errors import StropError, Unavailable
from service.domain.ids import Fence, JobId
from service.domain.jobs import State
from service.domain.offers import Offers
from service.domain.rewards import REWARDS
from service.operations.attempts import Claim
from service.telemetry import Pulse
from worker.attempt.attempt import Attempt, Workplace
from worker.attempt.memory import check_device
from worker.attempt.watch import Keeping

log = logging.getLogger(__name__)

OFFERS = Offers(
    families=frozenset(get_args(Family)),
    rewards=frozenset(word for reward in REWARDS for word in get_args(reward.model_fields["type"].annotation)),
)
"""What this code can do; labels and memory are the machine's, models what it has of the catalogue's at each claim."""

TURN_SECONDS = 0.005
"""Between two looks whether a task's place is free; it is within a millisecond."""

PATIENCE = 4
"""Turns that a worker may miss before it is no longer ready."""

SHOW_SECONDS = 60.0
"""How often a worker that looks for work says what it offers."""

MOST_REST = 300.0
"""Seconds for which a worker takes no job, at most, after attempts in a row that ended by its own trouble."""


def pulse_of(poll_seconds: float, lease_seconds: float) -> Pulse:
    """A worker's turn is a look for work, or, while it is busy, the next sign of life of its attempt."""
    return Pulse(PATIENCE * max(1.5 * poll_seconds, lease_seconds / 15))


class Felt:
    """The two verbs that keep an attempt alive; each that succeeds is a beat: a busy worker looks for no work."""

    def __init__(self, keeping: Keeping, pulse: Pulse) -> None:
        self._keeping, self._pulse = keeping, pulse

    def heartbeat(self, job_id: JobId, fence: Fence) -> State:
        state = self._keeping.heartbeat(job_id, fence)
        self._pulse.beat()
        return state

    def control(self, job_id: JobId, fence: Fence) -> State:
        state = self._keeping.control(job_id, fence)
        self._pulse.beat()
        return state


class Rest:
    """How long a worker leaves jobs to others after attempts that ended by its own trouble (`Attempt.trouble`): it would be the idle
    one of its fleet, and take each of them the moment it is due. Twice as long each time in a row."""

    def __init__(self, first: float, clock: Callable[[], float] = monotonic) -> None:
        self._first, self._clock, self._times, self._until = first, clock, 0, 0.0

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._until

    def note(self, trouble: str | None) -> None:
        """How an attempt ended; None: otherwise."""
        if trouble is None:
            self._times = 0
            return
        seconds = min(self._first * 2.0**self._times, MOST_REST)
        self._times, self._until = self._times + 1, self._clock() + seconds
        log.error("no job is taken for %.0f s: this worker's last attempt ended as %s, see there", seconds, trouble)


class Worker:
    """One a process: it owns the device. `name` signs its attempts; `pulse` beats when the database has said what is next."""

    def __init__(self, name: str, place: Workplace, poll_seconds: float, offers: Offers, pulse: Pulse) -> None:
        self._name, self._place, self._poll_seconds = name, place, poll_seconds
        self._offers, self._pulse = offers, pulse
        self._device = threading.Lock()
        self._rung = threading.Event()
        self._stopping = threading.Event()
        self._rest = Rest(2 * poll_seconds)
        self._is_sure_of_device = False
        self._show_at = 0.0
        self._current: Attempt | None = None
        self._unsettled: Attempt | None = None
        self._settled: Attempt | None = None
        """The last one whose end is, or was, being written."""
        self._settling = threading.Thread()
        self._poller = threading.Thread(target=self._poll, name="strop-poll")

    def start(self) -> None:
        """Look for work by the clock too: a lost ring or a dead broker only delays."""
        self._poller.start()

    def stop(self) -> None:
        """Ask the running attempt to hand its job back, and take no other; one whose end is being written must be over soon.

        Returns at once: for signal handlers.
        """
        self._stopping.set()
        self._pulse.end()
        current, settled = self._current, self._settled
        if current is not None:
            current.hand_back()
        if settled is not None:
            settled.hurry()

    def join(self) -> None:
        """Wait until the polling thread has ended, and with it the attempt that it may run, and the last end is written."""
        self._stopping.set()
        if self._poller.is_alive():
            self._poller.join()
        self._await_settled()

    def wake(self) -> None:
        """Run jobs until there is none that fits; at once, if somebody else is at it."""
        self._rung.set()
        while self._rung.is_set() and not self._stopping.is_set():
            if not self._device.acquire(blocking=False):
                return
            try:
                self._rung.clear()
                while self._run_next():
                    pass
            finally:
                self._device.release()

    def _run_next(self) -> bool:
        if self._stopping.is_set():
            self._settle_behind()
            return False
        try:
            claim = self._claim()
        finally:
            self._settle_behind()
        if claim is None:
            return False
        log.info("%s: attempt %d begins", claim.job.id, claim.job.fence)
        attempt = self._current = Attempt(claim, self._place)
        if self._stopping.is_set():
            attempt.hand_back()
        try:
            attempt.work()
            self._unsettled = attempt
            self._rest.note(attempt.trouble)
            if attempt.trouble == "device_unavailable":
                self._is_sure_of_device = False
        finally:
            self._current = None
        self._await_settled()  # one end is written at a time: a store that is away holds the worker after one job more
        return True

    def _claim(self) -> Claim | None:
        """None, or Unavailable, without a beat where no job could be worked on here: others take them meanwhile.

        A driver is asked in a process of its own, which may hang as it does: only at first, and after an attempt found no device.
        """
        if not self._rest.is_over:
            return None
        try:
            self._place.scratch.check()
        except OSError as error:
            text = f"the scratch folder cannot be written to ({error}): see to its disk, or set STROP_SCRATCH_DIR"
            raise Unavailable(text) from error
        try:
            if not self._is_sure_of_device:
                check_device(self._place.device)
        except OSError as error:
            raise Unavailable(str(error)) from error
        self._is_sure_of_device = True
        device = self._place.device if self._place.device != "auto" else None  # what it becomes, the child will know
        offers = replace(self._offers, models=self._place.stock.offered())
        if monotonic() >= self._show_at:
            self._place.attempts.show(self._name, offers)
            self._show_at = monotonic() + SHOW_SECONDS
        claim = self._place.attempts.claim(self._name, device, offers)
        self._pulse.beat()
        return claim

    def _settle_behind(self) -> None:
        """The next job need not wait until the end of the one before is written. It is claimed first: the device is free."""
        attempt, self._unsettled = self._unsettled, None
        if attempt is not None:
            self._settled = attempt
            if self._stopping.is_set():
                attempt.hurry()
            self._settling = threading.Thread(target=attempt.settle, name="strop-settle")
            self._settling.start()

    def _await_settled(self) -> None:
        if self._settling.is_alive():
            self._settling.join()

    def _poll(self) -> None:
        quietly(self.wake)
        while not self._stopping.wait(self._poll_seconds * random.uniform(0.5, 1.5)):
            quietly(self.wake)


def quietly(wake: Callable[[], None]) -> None:
    """Look for work; that the database is away is for the log, and for the next try."""
    try:
        wake()
    except StropError as error:
        log.warning("no work could be looked for: %s", error.message)
    except Exception:
        log.exception("a fault of the worker's: no work could be looked for")


def register(app: Celery, wake: Callable[[], None]) -> None:
    """The task that the doorbell names. It never fails: a ring is not worth a second try, the clock is one."""

    def look() -> None:
        quietly(wake)
        _listen_again()

    app.task(name=WAKE)(look)


def _listen_again() -> None:
    """Turn Celery's loop as soon as this task's place is free.

    With prefetch off it takes no message while a task runs, and it looks whether it may only when it turns: once a second,
    where nothing else happens. A ring that comes just after a job would wait for that.
    """
    loop = get_event_loop()
    if loop is None:
        return

    def turn() -> None:
        if state.reserved_requests:
            loop.call_later(TURN_SECONDS, turn)

    loop.call_soon(turn)
