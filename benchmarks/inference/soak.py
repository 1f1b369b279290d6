"""Random traffic with aborts, damaged adapters, a device that runs out of memory and engines that end: is every picture right?

`soak(folder, seconds)` sends requests of random kind to an engine for so long, in rounds; after each round every picture
that came is drawn again alone, in another copy of the model, in calls of the sizes that its answer named, and compared
bit for bit. What was aborted or damaged must have failed, and nothing else may, but what waits where an engine ends.
"""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
from torch import Tensor

from service.domain.catalogue import BaseModelEntry
from worker.inference.adapters.file import read
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import (
    AdapterCorrupt,
    Draining,
    Draw,
    Drawn,
    LoraFile,
    OutOfMemory,
    SchedulerName,
    Ticket,
    Worn,
)
from worker.inference.engine.served import Served
from worker.inference.engine.slots import Wearing
from worker.models.family import Family
from worker.models.load import load

RANK, SLOTS = 8, 3
ADAPTERS = 6
ROUND = 24
"""Requests that are in flight at once."""
REMEMBERED = 1000
"""Pictures drawn alone that are kept: few enough that the memory of minute 5 has them all."""
ENDS = 0.05
"""How often an engine ends in the middle of a round; another takes its place and loads the model anew."""
FITTING = 9
"""Of so many calls of more than two samples the last does not fit into memory."""
SCHEDULERS: tuple[SchedulerName, ...] = ("ddim", "euler", "dpmpp-2m")
PROMPTS = ("a red circle", "a blue square", "a green star left of a red circle")
STEPS = (2, 3, 5, 8)


Fate = Literal["drawn", "aborted", "damaged", "no memory", "turned away", "astray"]


@dataclass(frozen=True, slots=True)
class Soaked:
    """wrong: pictures that differ from those drawn alone. astray: requests that failed or came though they should not.
    turned_away: requests that waited where an engine ended, and were told so."""

    seconds: float
    requests: int
    pictures: int
    wrong: int
    astray: int
    aborted: int
    corrupt: int
    turned_away: int
    splits: int
    restarts: int
    rss_early: int
    rss_late: int
    """Bytes: after a sixth of the time (minute 5 of 30), and at the end."""


@dataclass(frozen=True, slots=True)
class Asked:
    draw: Draw
    ticket: Ticket
    abort: bool
    corrupt: bool


def soak(folder: Path, seconds: float, *, seed: int = 0, tell: Callable[[str], object] = lambda line: None) -> Soaked:
    """`folder`: a base model of the family sd. The same seed sends the same requests; which meet is left to time."""
    world = _World(folder, seed)
    began, sent, pictures, wrong, fates = time.monotonic(), 0, 0, 0, Counter[Fate]()
    early = late = 0
    try:
        while (spent := time.monotonic() - began) < seconds or not sent:
            asked = [world.ask() for _ in range(ROUND)]
            ended = world.ends()
            for each in asked:
                drawn, fate = _outcome(each, ended)
                fates[fate] += 1
                if drawn:
                    right = [world.alone(each.draw, index, sizes) for index, sizes in enumerate(drawn.steps)]
                    pictures += len(right)
                    wrong += sum(not np.array_equal(*pair) for pair in zip(right, drawn.pictures, strict=True))
            sent += ROUND
            if sent % (50 * ROUND) == 0:
                left = max(0, seconds - spent) / 60
                tell(f"soak: {pictures} pictures, {wrong} wrong, {fates['astray']} astray, about {left:.0f} min left")
            late = psutil.Process().memory_info().rss
            if spent <= seconds / 6 or not early:
                early = late
    finally:
        world.end()
    return Soaked(
        seconds=time.monotonic() - began,
        requests=sent,
        pictures=pictures,
        wrong=wrong,
        astray=fates["astray"],
        aborted=fates["aborted"],
        corrupt=fates["damaged"],
        turned_away=fates["turned away"],
        splits=world.splits,
        restarts=world.restarts,
        rss_early=early,
        rss_late=late,
    )


def _outcome(asked: Asked, ended: bool) -> tuple[Drawn | None, Fate]:
    """(what was drawn or None, what became of the request)"""
    try:
        drawn = asked.ticket.result(600)
    except CancelledError:
        return None, "aborted" if asked.abort else "astray"
    except AdapterCorrupt as error:
        return None, "damaged" if asked.corrupt and "@" in error.message else "astray"
    except Draining:
        return None, "turned away" if ended else "astray"
    except OutOfMemory:  # a pinned size cannot be split
        return None, "astray" if asked.draw.batch_size is None else "no memory"
    except Exception:
        return None, "astray"
    return (None, "astray") if asked.corrupt else (drawn, "drawn")


class _World:
    def __init__(self, folder: Path, seed: int) -> None:
        self._chance = random.Random(seed)
        self._base = BaseModelEntry(name="soaked", source=str(folder), family="sd")
        self._adapters = _adapters(folder, seed)
        self._reference = Served(load("sd", folder, device="cpu"), slots=1, rank=RANK)
        self._large_calls = 0
        self.splits = self.restarts = 0
        self.engine = self._begin()
        self.alone = lru_cache(REMEMBERED)(self._alone)

    def ask(self) -> Asked:
        """A request of random kind, under way."""
        chance = self._chance
        abort, corrupt = chance.random() < 0.1, chance.random() < 0.1
        watch = (lambda partial: None) if chance.random() < 0.2 else None
        draw = Draw(
            tenant=chance.choice("abc"),
            base=self._base,
            adapters=self._worn(corrupt),
            prompt=chance.choice(PROMPTS),
            negative=chance.choice(("", "grey")),
            count=chance.choice((1, 1, 1, 2, 3)),
            seed=chance.randrange(4),
            steps=chance.choice(STEPS),
            guidance=chance.choice((1.0, 2.0, 4.0)),
            scheduler=chance.choice(SCHEDULERS),
            batch_size=chance.choice((None, None, None, 2, 8)),
            partials=2 if watch else 0,
        )
        ticket = self.engine.submit(draw, watch)
        if abort:
            ticket.abort() if chance.random() < 0.5 else _after_a_step(ticket)
        return Asked(draw, ticket, abort, corrupt)

    def _begin(self) -> Engine:
        return Engine(self._load, slots=SLOTS, slot_rank=RANK, waiting=2 * ROUND)

    def end(self) -> None:
        self.engine.close()
        self.splits += self.engine.figures().splits

    def ends(self) -> bool:
        """Whether the engine ended here, with everything that waited for it."""
        if self._chance.random() >= ENDS:
            return False
        self.end()
        self.engine = self._begin()
        self.restarts += 1
        return True

    def _worn(self, corrupt: bool) -> tuple[Worn, ...]:
        if corrupt:
            return (_damaged(self._chance.choice(self._adapters), self._chance),)
        some = self._chance.choice((0, 1, 1, 1, 2))
        chosen = self._chance.sample(self._adapters, some)
        return tuple(_ready(data, self._chance.choice((1.0, 0.5, -0.5))) for data in chosen)

    def _load(self, entry: BaseModelEntry, folder: Path) -> Family:
        family = load("sd", folder, device="cpu")
        predict = family.predict

        def short_of_memory(latents: Tensor, *given: Any) -> Tensor:
            self._large_calls += len(latents) > 2
            if len(latents) > 2 and self._large_calls % FITTING == 0:
                raise torch.OutOfMemoryError("planted")
            return predict(latents, *given)

        family.predict = short_of_memory  # type: ignore[method-assign]
        return family

    def _alone(self, draw: Draw, index: int, sizes: str) -> np.ndarray:
        wearing: Wearing = tuple((worn.adapter.result(), worn.weight) for worn in draw.adapters)
        sample = self._reference.begin(
            draw.prompt,
            draw.seed + index,
            guidance=draw.guidance,
            steps=draw.steps,
            negative=draw.negative,
            wearing=wearing,
            scheduler=draw.scheduler or "ddim",
        )
        for run in sizes.split(","):
            size, steps = map(int, run.split("x"))
            for _ in range(steps):
                self._reference.step([sample], size)
        return self._reference.picture(sample)


def _after_a_step(ticket: Ticket) -> None:
    while not ticket.steps_done and not ticket.done:
        time.sleep(0.001)
    ticket.abort()


@lru_cache
def _adapters(folder: Path, seed: int) -> tuple[bytes, ...]:
    """With B ≠ 0, of two ranks."""
    files = []
    for rank in (2, 4):
        family = load("sd", folder, device="cpu")
        tensors = family.add_adapter(rank, ["attention", "feed-forward"] + (["conv"] if rank == 2 else []), seed)
        for number in range(ADAPTERS // 2):
            chance = torch.Generator().manual_seed(100 * seed + 10 * rank + number)
            drawn = {name: torch.randn(each.shape, generator=chance) * 0.2 for name, each in tensors.items()}
            files.append(family.export(drawn))
    return tuple(files)


@lru_cache
def _ready(data: bytes, weight: float) -> Worn:
    sha256 = hashlib.sha256(data).hexdigest()
    return _loading(lambda: read(f"{sha256[:8]}@1", sha256, data), sha256, weight)


def _damaged(data: bytes, chance: random.Random) -> Worn:
    """One byte of it is another one."""
    place = chance.randrange(len(data))
    torn = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    sha256 = hashlib.sha256(data).hexdigest()
    return _loading(lambda: read(f"{sha256[:8]}@1", sha256, torn), sha256, 1.0)


def _loading(read_it: Callable[[], LoraFile], sha256: str, weight: float) -> Worn:
    future: Future[LoraFile] = Future()
    try:
        future.set_result(read_it())
    except AdapterCorrupt as error:
        future.set_exception(error)
    return Worn(future, f"{sha256[:8]}@1", sha256, weight)
