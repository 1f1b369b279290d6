"""One loaded base model under the engine: samples begin, take steps in shared calls, and become pictures.

What a sample becomes depends on its own request and on the padded size of each of its calls, on nothing else: its noise
comes from its own generator, its text is encoded alone, its picture is decoded alone, and a denoiser call computes each
row by itself (`docs/inference.md` has the contract and its limits).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from service.domain.errors import FieldError, JobFailure
from worker.evaluation.draw import noise
from worker.inference.engine import schedulers
from worker.inference.engine.invariant import BatchInvariant
from worker.inference.engine.requests import SIZES, NotANumber, SchedulerName
from worker.inference.engine.schedulers import Walk
from worker.inference.engine.slots import Slots, Wearing
from worker.models.family import Conditions, Family


@dataclass(slots=True, eq=False)
class Sample:
    """One picture on its way. latents, clean (the estimate of the last step) [C, H, W]."""

    walk: Walk
    guidance: float
    conditions: Conditions
    wearing: Wearing
    latents: Tensor
    clean: Tensor | None = None
    place: int = 0
    nfe: int = 0
    sizes: list[int] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.place == len(self.walk.timesteps)

    @property
    def steps(self) -> str:
        """The padded sizes of its calls, run-length: 8x12,4x8."""
        return ",".join(f"{size}x{len(list(run))}" for size, run in groupby(self.sizes))


class Served:
    """Used by one thread. `family` wears nothing of peft's: adapters go into `slots`."""

    def __init__(
        self, family: Family, *, slots: int, rank: int, conv: bool = True, batch_invariant: bool = False
    ) -> None:
        """Raises JobFailure where batch invariance is asked for and this family cannot have it."""
        self.family = family
        self.slots = Slots(family.denoiser, count=slots, rank=rank, conv=conv)
        self._arithmetic: AbstractContextManager[None] = BatchInvariant(family) if batch_invariant else nullcontext()
        self._walk = lru_cache(128)(lambda name, steps: schedulers.walk(family.process, name, steps))

    def begin(
        self,
        prompt: str,
        seed: int,
        *,
        guidance: float,
        steps: int,
        negative: str = "",
        wearing: Wearing = (),
        scheduler: SchedulerName,
    ) -> Sample:
        """Before its first step. Raises AdapterRefused."""
        self.slots.check(wearing)
        walk = self._walk(scheduler, steps)
        with self._arithmetic:
            conditions = self.family.encode([prompt], [negative])
        return Sample(walk, guidance, conditions, wearing, noise(self.family, [seed])[0] * walk.first)

    @torch.no_grad()
    def step(self, samples: Sequence[Sample], size: int) -> int:
        """One step of each in one denoiser call of `size` samples; returns the NFE that each of them cost, counted.

        The padding repeats the last sample; its outputs are dropped. All samples have guidance above 1, or none: with
        classifier-free guidance the call has 2 × size rows, negatives first. Nothing of a sample changes before the
        call has succeeded.
        """
        rows = [*samples, *[samples[-1]] * (size - len(samples))]
        walks, places = [each.walk for each in rows], [each.place for each in rows]
        latents = torch.stack([each.latents for each in rows])
        conditions = _joined([each.conditions for each in rows])
        times = torch.tensor([walk.timesteps[place] for walk, place in zip(walks, places, strict=True)])
        worn = self.slots.place([each.wearing for each in rows])
        doubled = conditions.negative and rows[0].guidance > 1
        self.slots.wear([*worn, *worn] if doubled else worn)
        before = self.family.counter.total.nfe
        with self._arithmetic:
            prediction = self.family.predict(
                schedulers.inputs(walks, places, latents), times, conditions, [each.guidance for each in rows]
            )
        real = len(samples)
        following, clean = schedulers.advance(
            walks[:real], places[:real], latents[:real], prediction[:real], [each.clean for each in samples]
        )
        nfe = -(-(self.family.counter.total.nfe - before) // size)
        for row, sample in enumerate(samples):
            sample.latents, sample.clean = following[row], clean[row]
            sample.place += 1
            sample.nfe += nfe
            sample.sizes.append(size)
        return nfe

    def picture(self, sample: Sample) -> np.ndarray:
        """uint8 [H, W, 3], decoded alone. Raises NotANumber."""
        if not sample.latents.isfinite().all():
            raise _overflow(sample)
        try:
            return self._decoded(sample.latents, self.family.decode)
        except JobFailure as failure:
            raise _overflow(sample) from failure

    def preview(self, sample: Sample) -> np.ndarray:
        """uint8 [H, W, 3]: what the picture looks like after the last step, by the small decoder where there is one."""
        assert sample.clean is not None
        return self._decoded(sample.clean.nan_to_num(), self.family.decode_preview)

    @contextmanager
    def plain(self) -> Iterator[Family]:
        """The family as it was loaded, inside the block: the denoiser has its own layers and nothing of ours.

        For what has to be compared with plain diffusers; the pipeline's own call is `family.pipeline`.
        """
        with self.slots.removed():
            yield self.family

    @torch.no_grad()
    def _decoded(self, latents: Tensor, decode: Callable[[Tensor], Tensor]) -> np.ndarray:
        with self._arithmetic:
            return decode(latents[None])[0].numpy()


def _overflow(sample: Sample) -> NotANumber:
    what = "the denoiser's numbers overflowed on the way to this picture, and nothing can be drawn from them"
    if sample.wearing:
        names = " + ".join(file.reference for file, _ in sample.wearing)
        wrong = FieldError("adapters", f"with {names} {what}", "draw with a smaller weight, or without that adapter")
    else:
        remedy = "send a smaller guidance_scale, or let the operator look at this base model's weights and dtype"
        wrong = FieldError("guidance_scale", what, remedy)
    return NotANumber(errors=(wrong,))


def padded(count: int, most: int = SIZES[-1]) -> tuple[int, int]:
    """(size, how many of `count` samples go in a call of it): up where at most a quarter is padding, else down.

    3 → 4, 6 and 7 → 8; of 5 go 4, and the fifth is the first of the next call (`roster.py`).
    """
    fitting = [size for size in SIZES if size <= most]
    up = next((size for size in fitting if size >= count), fitting[-1])
    if count >= up:
        return up, up
    if 4 * count >= 3 * up:
        return up, count
    down = fitting[fitting.index(up) - 1]
    return down, down


def _joined(rows: Sequence[Conditions]) -> Conditions:
    return Conditions(
        {name: torch.cat([row.positive[name] for row in rows]) for name in rows[0].positive},
        {name: torch.cat([row.negative[name] for row in rows]) for name in rows[0].negative},
    )
