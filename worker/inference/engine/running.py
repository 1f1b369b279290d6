"""A request under way, and its pictures: what the engine keeps of it between steps."""

import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

import numpy as np

from service.domain.catalogue import Family
from service.domain.errors import Unavailable
from worker.inference.engine.requests import Draw, Drawn, SchedulerName, Ticket, Watch
from worker.inference.engine.roster import Run, Shape
from worker.inference.engine.served import Sample
from worker.inference.engine.slots import Wearing

DISTILLED: frozenset[Family] = frozenset({"flux"})
"""Families without classifier-free guidance: one forward whatever the guidance, and nothing to draw away from."""


@dataclass(slots=True, eq=False)
class Running:
    """One request. `scheduler` is resolved; `warnings` and `began` come with its first sample."""

    draw: Draw
    ticket: Ticket
    scheduler: SchedulerName
    watch: Watch | None = None
    submitted: float = field(default_factory=time.monotonic)
    began: float | None = None
    warnings: tuple[str, ...] = ()
    pictures: list[np.ndarray | None] = field(default_factory=list)
    runs: "list[PictureRun]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs = [PictureRun(self, index) for index in range(self.draw.count)]
        self.pictures = [None] * self.draw.count

    @property
    def name(self) -> str:
        """What its forwards are counted under."""
        return "+".join(worn.reference for worn in self.draw.adapters) or self.draw.base.name

    @property
    def loaded(self) -> bool:
        """Whether its adapters are in host memory, or have failed to come."""
        return all(worn.adapter.done() for worn in self.draw.adapters)

    @property
    def trouble(self) -> Exception | None:
        """What one of its adapters failed with, if one has."""
        for worn in self.draw.adapters:
            if worn.adapter.done():
                try:
                    worn.adapter.result()
                except CancelledError:
                    return Unavailable(f"The adapter {worn.reference} was not loaded: the endpoint is stopping.")
                except Exception as error:
                    return error
        return None

    @property
    def wearing(self) -> Wearing:
        """Once loaded."""
        return tuple((worn.adapter.result(), worn.weight) for worn in self.draw.adapters)

    @property
    def previews(self) -> dict[int, int]:
        """Step → number of the preview after it: evenly spaced, none after the last step, which is the picture."""
        of, steps = self.draw.partials, self.draw.steps
        numbers = {steps * number // (of + 1): number for number in range(1, of + 1)}
        return {step: number for step, number in numbers.items() if 0 < step < steps}

    def release(self) -> None:
        """It has ended: nothing of its pictures is kept, not even until a garbage collection."""
        self.runs, self.pictures = [], []

    def drawn(self) -> Drawn:
        """Once every picture is there."""
        now = time.monotonic()
        samples = [run.sample for run in self.runs if run.sample]
        return Drawn(
            pictures=np.stack([picture for picture in self.pictures if picture is not None]),
            nfe=sum(sample.nfe for sample in samples),
            steps=tuple(sample.steps for sample in samples),
            warnings=self.warnings,
            seconds_waiting=(self.began or now) - self.submitted,
            seconds_running=now - (self.began or now),
        )


class PictureRun(Run):
    """Picture `index` of a request; `sample` once it has begun."""

    def __init__(self, request: Running, index: int) -> None:
        draw = request.draw
        self.request, self.index = request, index
        self.tenant = draw.tenant
        guided = draw.guidance > 1 and draw.base.family not in DISTILLED
        self.shape = Shape(draw.base, guided, draw.batch_size)
        self.worn = tuple((worn.sha256, worn.weight) for worn in draw.adapters)
        self.sample: Sample | None = None

    @property
    def begun(self) -> bool:
        return self.sample is not None
