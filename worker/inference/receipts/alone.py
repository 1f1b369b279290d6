"""Pictures by the engine's own loop, for work that has a base model for itself: what traffic costs, and nobody else's beside it.

The loop is one of its own, over the engine's base and its slots: requests are admitted, begin, share calls, are stepped and
end in the code that serves everybody, so that a denoiser call too many anywhere in there is seen by who counts at the denoiser.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from service.domain.catalogue import BaseModelEntry
from worker.evaluation.receipt_sides import Setting
from worker.inference.engine.figures import Tally
from worker.inference.engine.loop import Loop
from worker.inference.engine.requests import Draw, LoraFile, SchedulerName, Ticket, Worn
from worker.inference.engine.resident import Resident
from worker.inference.engine.running import Running
from worker.inference.engine.served import Served


class Alone:
    """In the engine's thread, while `served` is nobody else's."""

    def __init__(self, base: BaseModelEntry, served: Served, scheduler: SchedulerName) -> None:
        tally = Tally()
        resident = Resident(lambda entry: Path(), lambda entry, folder: served, 1, tally, lambda: None)
        resident.prepare(base)
        resident.get(base, ())
        self._base, self._scheduler = base, scheduler
        self._loop = Loop(resident, tally, slots=served.slots.count)

    def draw(self, file: LoraFile, prompts: Sequence[str], seeds: Sequence[int], setting: Setting) -> np.ndarray:
        """uint8 [B, H, W, 3]: one request each, in calls of just so many. Raises what a request fails with."""
        adapter: Future[LoraFile] = Future()
        adapter.set_result(file)
        worn = (Worn(adapter, file.reference, file.sha256),)
        requests = [
            Running(
                Draw("", self._base, worn, prompt, "", 1, seed, setting.steps, setting.guidance, batch_size=len(prompts)),
                Ticket(),
                self._scheduler,
            )
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]  # fmt: skip
        for request in requests:
            self._loop.admit(request)
        while not self._loop.empty:
            self._loop.sweep()
            if not self._loop.turn() and not self._loop.empty:
                raise RuntimeError("the loop has requests and nothing to do")
        return np.concatenate([request.ticket.result().pictures for request in requests])
