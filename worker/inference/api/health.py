"""Is the endpoint ready, and is it alive: judged by the steps that the engine takes, not by a process that answers.

Ready: the engine takes requests, the base models that the operator named are warm, and while requests wait or run a step
was taken within `stuck_seconds`. A hanging device is seen so, and the load balancer sends requests elsewhere. Loading a
base model takes no steps either: name it in STROP_WARM_BASES, or let `stuck_seconds` cover it; fetching one is no
standstill. Nor is it ready while requests have failed FAULTS times in a row for no reason of theirs.
Alive: the engine's loop runs, has not been at a standstill for `lost_seconds`, and its device has not failed as a whole,
when only a new process helps. While the endpoint drains it is not ready, and alive: its loop may have come to its end.
"""

import logging
import threading
from collections.abc import Sequence

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import StropError, Unavailable
from worker.inference.engine.engine import Engine
from worker.inference.engine.figures import Figures
from worker.inference.engine.requests import Draining, Draw

RETRY_SECONDS = 30.0
FAULTS = 8
HOUSE = "house"
"""Whose turn it is when the endpoint tries its own models."""
logger = logging.getLogger(__name__)


class NotReady(Unavailable):
    """The endpoint cannot draw just now."""

    code = "not_ready"


class Stuck(Unavailable):
    """The engine has work and takes no steps."""

    code = "engine_stuck"


class DeviceLost(Unavailable):
    """The device has failed, and only a new process has it again."""

    code = "device_lost"


class WarmUp:
    """Loads base models and draws one step with each; tried again until it goes well."""

    def __init__(self, engine: Engine, bases: Sequence[BaseModelEntry]) -> None:
        self._engine, self._left = engine, list(bases)
        self.trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warm-up", daemon=True)
        self._thread.start()

    @property
    def left(self) -> list[str]:
        """Names of the bases that are not warm yet."""
        return [each.name for each in self._left]

    def close(self) -> None:
        """After the engine's end, which ends a draw that runs."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while self._left and not self._stop.is_set():
            base = self._left[0]
            try:
                self._engine.submit(_one_step(base)).result()
            except Exception as error:
                self.trouble = error.message if isinstance(error, StropError) else "a fault of ours; the log has it"
                logger.warning("warming %s failed: %s", base.name, error, exc_info=not isinstance(error, StropError))
                self._stop.wait(RETRY_SECONDS)
            else:
                self.trouble = ""
                self._left.pop(0)
                logger.info("%s is warm", base.name)


class Health:
    """What /readyz and /healthz ask."""

    def __init__(self, engine: Engine, warm_up: WarmUp, stuck_seconds: float, lost_seconds: float) -> None:
        self._engine, self._warm_up = engine, warm_up
        self._stuck_seconds, self._lost_seconds = stuck_seconds, lost_seconds
        self.draining = False

    def check_alive(self) -> None:
        """Raises NotReady, DeviceLost or Stuck where only a new process helps."""
        if not self._engine.alive and not self.draining:
            raise NotReady("The engine takes no requests.")
        self._check_steps(self._engine.figures(), self._lost_seconds)

    def check_ready(self) -> None:
        """Raises Draining, NotReady, DeviceLost or Stuck."""
        if self.draining:
            raise Draining
        if not self._engine.alive:
            raise NotReady("The engine takes no requests.")
        figures = self._engine.figures()
        self._check_steps(figures, self._stuck_seconds)
        if figures.faults_in_a_row >= FAULTS:
            raise NotReady(
                f"Requests failed {figures.faults_in_a_row} times in a row for no reason of theirs; the log has why."
            )
        if left := self._warm_up.left:
            trouble = f": {self._warm_up.trouble}" if self._warm_up.trouble else ""
            raise NotReady(f"{', '.join(left)}: not warm yet{trouble}")

    def _check_steps(self, figures: Figures, patience: float) -> None:
        if figures.device_lost:
            raise DeviceLost(f"The device failed, and no step was taken since: {figures.device_lost}")
        quiet, there = figures.stalled_seconds, figures.waiting + figures.running
        if quiet > patience:
            raise Stuck(f"{there} requests wait or run, and no step was taken for {quiet:.0f} s.")


def _one_step(base: BaseModelEntry) -> Draw:
    return Draw(
        tenant=HOUSE,
        base=base,
        adapters=(),
        prompt="warm",
        negative="",
        count=1,
        seed=0,
        steps=1,
        guidance=base.guidance_scale,
    )
