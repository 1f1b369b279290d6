"""The watch over an attempt: one thread keeps its lease and hears what the caller wants, one ends what must end.

The first may wait for the database, so the second never does anything but wait for the next of its deadlines:
the lease (a margin before it ends), silence of the child, the grace after a Stop. Neither ever waits for an upload.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Literal, Protocol

from service.domain.errors import FenceLost, StropError
from service.domain.ids import Fence, JobId
from service.domain.jobs import State
from worker.attempt.process import Process
from worker.pipe import Stop, Tick

log = logging.getLogger(__name__)

Reason = Literal["cancel", "pause", "hand_back"]
Ended = Literal["fence_lost", "lease_over", "unkillable", "stuck", "grace_over"]
LOST: frozenset[Ended] = frozenset({"fence_lost", "lease_over", "unkillable"})
"""Ends after which the job is somebody else's: nothing is renewed or written any more."""
_STRENGTH: dict[Reason, int] = {"hand_back": 0, "pause": 1, "cancel": 2}
_STATE_ASKS: dict[State, Reason] = {State.CANCELLING: "cancel", State.PAUSING: "pause"}
_TERM_TO_KILL = 1.0


class Keeping(Protocol):
    """The two verbs that keep an attempt alive; on a connection of their own."""

    def heartbeat(self, job_id: JobId, fence: Fence) -> State: ...

    def control(self, job_id: JobId, fence: Fence) -> State: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. `grace`: from a Stop to SIGTERM (two steps, if they take longer); `hand_back`: when the worker ends.

    `saving`: for a pause, from the step boundary at which it is obeyed until its checkpoint is written. `leave`: from the
    worker's end to the moment at which files that are still on their way are left, so that the job is handed back in time.
    """

    lease: float
    step_timeout: float
    grace: float = 5.0
    hand_back: float = 15.0
    saving: float = 30.0
    leave: float = 20.0


class Watch:
    """Use as a context; the lease is kept until it ends. `claimed_at` is `monotonic()` from before the claim."""

    def __init__(self, keeping: Keeping, job: JobId, fence: Fence, patience: Patience, claimed_at: float) -> None:
        self._keeping, self._job, self._fence, self._patience = keeping, job, fence, patience
        self._changed = threading.Condition()
        self._closed = False
        self._process: Process | None = None
        self._lease_end = claimed_at + patience.lease
        self._heard_at: float | None = None
        self._pace = 0.0
        self._asked: Reason | None = None
        self._asked_at = 0.0
        self._saving_at: float | None = None
        self._leave_at = float("inf")
        self._terminated_at: float | None = None
        self._ended: Ended | None = None
        self._lost = False
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._keep, self._guard)]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def ended(self) -> Ended | None:
        """Why the process was ended from here, if it was."""
        return self._ended

    @property
    def lost(self) -> bool:
        """The job is no longer ours: nothing may be written any more."""
        return self._lost

    @property
    def asked(self) -> Reason | None:
        """The strongest Stop so far: a cancel outranks a pause, which outranks a hand-back."""
        return self._asked

    @property
    def must_leave(self) -> bool:
        """The worker ends so soon that nothing may be waited for but what hands the job back."""
        return monotonic() >= self._leave_at

    def attach(self, process: Process, *, speaks: bool = True) -> None:
        """From now on this process is told of the lease, stopped and ended.

        One that does not speak is never stuck, and ended without grace: it would not hear of the Stop.
        """
        with self._changed:
            self._process, self._heard_at = process, monotonic() if speaks else None
            process.send(Tick(self._lease_end - monotonic()))
            if self._asked is not None:
                self._asked_at = monotonic()
                process.send(Stop(self._asked, self._asked != "cancel"))
            if self._ended is not None:
                process.kill()
            self._changed.notify_all()

    def detach(self) -> None:
        """The process is gone; the lease is kept on."""
        with self._changed:
            self._process = self._heard_at = None

    def heard(self, step_seconds: float | None = None) -> None:
        """The child has said something, if only that it is still at it; `step_seconds` is how long a step takes, if it said that."""
        with self._changed:
            self._heard_at = monotonic()
            self._pace = step_seconds or self._pace

    def saving(self) -> None:
        """The child obeys a Stop: it is at a step boundary, and writes the checkpoint that was asked for."""
        with self._changed:
            self._saving_at = self._saving_at or monotonic()
            self._changed.notify_all()

    def ask(self, reason: Reason) -> None:
        """Stop at the next step boundary. A weaker reason than an earlier one changes nothing."""
        with self._changed:
            if self._asked is not None and _STRENGTH[reason] <= _STRENGTH[self._asked]:
                return
            self._asked, self._asked_at = reason, monotonic()
            if self._process is not None:
                self._process.send(Stop(reason, checkpoint=reason != "cancel"))
            self._changed.notify_all()

    def leave(self) -> None:
        """The worker ends: what is on its way to or from the store has `leave` seconds from now."""
        self._leave_at = min(self._leave_at, monotonic() + self._patience.leave)

    def end(self, why: Ended) -> None:
        """Kill the process; the first reason is kept."""
        with self._changed:
            self._ended = self._ended or why
            self._lost = self._lost or why in LOST
            if self._process is not None:
                self._process.kill()
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait, but not beyond the end of the lease or the loss of the fence."""
        with self._changed:
            self._changed.wait_for(lambda: self.lost, seconds)

    def _keep(self) -> None:
        """Heartbeat every lease / 3, a look at the state every lease / 15; the lease counts from before the call."""
        lease = self._patience.lease
        beat_due = self._lease_end - lease * 2 / 3
        while not self._pause_of(lease / 15):
            began = monotonic()
            try:
                if began >= beat_due:
                    state = self._keeping.heartbeat(self._job, self._fence)
                    beat_due = began + lease / 3
                    self._renewed(began + lease)
                else:
                    state = self._keeping.control(self._job, self._fence)
            except FenceLost:
                self.end("fence_lost")
                return
            except StropError as error:
                log.warning("%s: the lease could not be renewed: %s", self._job, error)
            except Exception:
                log.exception("%s: the lease could not be renewed", self._job)
            else:
                if state in _STATE_ASKS:
                    self.ask(_STATE_ASKS[state])

    def _renewed(self, lease_end: float) -> None:
        with self._changed:
            self._lease_end = lease_end
            if self._process is not None:
                self._process.send(Tick(lease_end - monotonic()))

    def _pause_of(self, seconds: float) -> bool:
        """Wait; True when there is nothing left to keep."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or self.lost, seconds)

    def _guard(self) -> None:
        with self._changed:
            while not (self._closed or self.lost):
                due, act = min(self._deadlines(), key=lambda deadline: deadline[0])
                if monotonic() >= due:
                    with suppress(OSError):
                        act()
                else:
                    self._changed.wait(due - monotonic())

    def _deadlines(self) -> list[tuple[float, Callable[[], None]]]:
        """What will have to be done, and when, as things stand."""
        deadlines = [(self._lease_end - self._patience.lease / 6, lambda: self.end("lease_over"))]
        if self._process is None or self._ended is not None:
            return deadlines
        if self._heard_at is not None:
            deadlines.append((self._heard_at + self._patience.step_timeout, lambda: self.end("stuck")))
        if self._asked is not None and self._terminated_at is None:
            deadlines.append((self._patience_ends(), self._terminate))
        if self._terminated_at is not None:
            deadlines.append((self._terminated_at + _TERM_TO_KILL, lambda: self.end("grace_over")))
        return deadlines

    def _patience_ends(self) -> float:
        if self._heard_at is None:
            return self._asked_at
        if self._asked == "hand_back":
            return self._asked_at + self._patience.hand_back
        if self._asked == "pause" and self._saving_at is not None:
            return self._saving_at + self._patience.saving
        return self._asked_at + max(self._patience.grace, 2 * self._pace)

    def _terminate(self) -> None:
        self._terminated_at = monotonic()
        if self._process is not None:
            self._process.terminate()
