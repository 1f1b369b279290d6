"""Many adapters at once: pictures a second under Zipf traffic, by the engine and by diffusers' own ways to change adapters."""

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.contest import contest, operations, row, speed
from benchmarks.inference.places import GUIDANCE, STEPS, Place
from service.adapters import storage
from tests.worker.inference.drawing import drawn
from tests.worker.inference.stored import TENANT, CountingStore, Shelf
from worker.evaluation.receipt_sides import counted
from worker.inference.adapters.cache import AdapterCache
from worker.inference.adapters.disk import DiskLevel
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import Draw, Drawn, Worn

ADAPTERS = 64
IN_FLIGHT = 16
A_TURN = 32
"""Requests of one turn, unless the caller says otherwise; every contender gets the same ones."""
EXPONENT = 1.0
PROMPTS = ("a red circle", "a blue square above a green triangle", "a yellow star left of a red circle")
MIB = 2**20

Ask = tuple[int, str, int]
"""(adapter, prompt, seed)"""


def zipf(count: int, seed: int) -> list[Ask]:
    """The k-th adapter is asked for in proportion to 1/k."""
    chance = np.random.default_rng(seed)
    weight = 1.0 / np.arange(1, ADAPTERS + 1) ** EXPONENT
    chosen = chance.choice(ADAPTERS, count, p=weight / weight.sum())
    return [(int(adapter), PROMPTS[number % len(PROMPTS)], number) for number, adapter in enumerate(chosen)]


class Ours:
    """The engine with the adapter cache in front of it: memory for all, slots for fewer than there are adapters."""

    def __init__(self, place: Place, folder: Path) -> None:
        self._place = place
        self.family = place.family()
        shelf = Shelf(CountingStore(storage.make(f"file://{folder}/store")), folder)
        self._versions = [shelf.put(path.read_bytes()) for path in place.files]
        self.cache = AdapterCache(shelf.store, DiskLevel(folder / "disk", 4096 * MIB), 4096 * MIB)
        self.engine = Engine(lambda entry, folder: self.family)

    def draw(self, asked: Ask) -> Drawn:
        adapter, prompt, seed = asked
        version = self._versions[adapter]
        worn = Worn(self.cache.fetch(TENANT, version), version.reference, version.file.sha256)
        request = Draw("local", self._place.entry, (worn,), prompt, "", 1, seed, STEPS, GUIDANCE)
        return self.engine.submit(request).result(120)

    def run(self, asked: Sequence[Ask]) -> list[np.ndarray]:
        """With IN_FLIGHT clients, each of which waits for its picture before it asks for another."""
        left: queue.SimpleQueue[tuple[int, Ask]] = queue.SimpleQueue()
        for item in enumerate(asked):
            left.put(item)
        pictures: dict[int, np.ndarray] = {}

        def client() -> None:
            while True:
                try:
                    number, ask = left.get_nowait()
                except queue.Empty:
                    return
                pictures[number] = self.draw(ask).pictures[0]

        clients = [threading.Thread(target=client) for _ in range(IN_FLIGHT)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        return [pictures[number] for number in range(len(asked))]

    def close(self) -> None:
        self.engine.close()
        self.cache.close()


class Theirs:
    """diffusers' pipeline, one request at a time: the adapter loaded and unloaded for each, or all resident and one set."""

    def __init__(self, place: Place, *, resident: bool) -> None:
        self.family, self._files, self._resident = place.family(), place.files, resident
        if resident:
            for number, path in enumerate(self._files):
                self.family.pipeline.load_lora_weights(
                    path.parent, weight_name=path.name, adapter_name=f"adapter_{number}"
                )

    def run(self, asked: Sequence[Ask]) -> list[np.ndarray]:
        pictures = []
        for adapter, prompt, seed in asked:
            pipeline, path = self.family.pipeline, self._files[adapter]
            if self._resident:
                pipeline.set_adapters(f"adapter_{adapter}")
            else:
                pipeline.load_lora_weights(path.parent, weight_name=path.name)
            drawn = pipeline(
                prompt=prompt,
                generator=torch.Generator("cpu").manual_seed(seed),
                guidance_scale=GUIDANCE,
                num_inference_steps=STEPS,
                output_type="np",
            ).images[0]
            if not self._resident:
                pipeline.unload_lora_weights()
            pictures.append((drawn * 255).round().astype(np.uint8))
        return pictures


def rows(place: Place, folder: Path, turns: int, requests: int = A_TURN) -> list[dict[str, Any]]:
    ours, per_request, resident = Ours(place, folder), Theirs(place, resident=False), Theirs(place, resident=True)
    contenders = {"ours": ours, "load": per_request, "set": resident}
    try:
        _check(contenders, zipf(8, seed=99), exactly=place.dtype == "fp32")
        turn = {name: iter(range(turns + 2)) for name in contenders}

        def one(name: str) -> Callable[[], object]:
            return lambda: contenders[name].run(zipf(requests, seed=next(turn[name])))

        seconds = contest(f"{place.model}, traffic", {name: one(name) for name in contenders}, turns)
        nfe = {name: _forwards(each) for name, each in contenders.items()}
        figures = ours.engine.figures()
        fill = sum(figures.samples.values()) / sum(size * calls for size, calls in figures.calls.items())
        about = {
            "adapters": ADAPTERS, "in_flight": IN_FLIGHT, "zipf": EXPONENT, "requests_a_turn": requests,
            "images_a_second": {name: round(requests / float(np.median(each)), 2) for name, each in seconds.items()},
            "calls_by_size": dict(figures.calls), "fill": round(fill, 3), "slot_loads": figures.slot_loads,
            "threads": torch.get_num_threads(),
        }  # fmt: skip
        goals = {"load": 5.0, "set": 3.0} if place.device != "cpu" else {"load": 2.0, "set": 1.5}
        against = {
            "load": "load_lora_weights and unload for each request",
            "set": "set_adapters among 64 resident adapters, one request at a time",
        }
        return [
            row(
                f"images/s, 64 adapters, Zipf, 16 in flight : {against[name]}", place, speed(seconds, "ours", name),
                goal=("at least", goals[name]), nfe=(nfe["ours"], nfe[name]), ops=_operations(ours, contenders[name]),
                **about,
            )
            for name in ("load", "set")
        ]  # fmt: skip
    finally:
        ours.close()


def _check(contenders: dict[str, Any], asked: list[Ask], *, exactly: bool) -> None:
    """All draw the same pictures. In bf16 up to its rounding, another in calls of another size: each is several times nearer to
    its own than to the one that the next adapter draws of the same words and seed."""
    wanted = contenders["load"].run(asked)
    others = wanted if exactly else contenders["load"].run([((each + 1) % ADAPTERS, *rest) for each, *rest in asked])
    for name in ("ours", "set"):
        for found, picture, other in zip(contenders[name].run(asked), wanted, others, strict=True):
            apart, wrong = (np.abs(found.astype(int) - each.astype(int)) for each in (picture, other))
            right = apart.max() <= 2 if exactly else apart.mean() * 4 < wrong.mean()
            assert right, (
                f"{name} draws another picture than diffusers: {apart.mean():.2f} of 255 apart, at most {apart.max()}"
            )


def _forwards(contender: Any) -> int:
    """Denoiser forwards of one request, alone."""
    with counted(contender.family.denoiser) as rows:
        contender.run(zipf(1, seed=0))
    return rows.seen


def _operations(ours: Ours, theirs: Any) -> tuple[int, int]:
    """ATen operations of 16 pictures: the engine's thread is asked to draw them by itself, eight in a call."""
    asked = zipf(IN_FLIGHT, seed=1)
    files = {adapter: ours.cache.fetch(TENANT, ours._versions[adapter]).result(60) for adapter, _, _ in asked}

    def served(of: Any) -> int:
        def draw() -> None:
            drawn(
                of, [prompt for _, prompt, _ in asked], [seed for _, _, seed in asked], guidance=GUIDANCE, steps=STEPS,
                scheduler="ddim", wearings=[((files[adapter], 1.0),) for adapter, _, _ in asked],
            )  # fmt: skip

        draw()
        return operations(draw)

    mine = ours.engine.exclusively(ours._place.entry, served).result(600)
    return mine, operations(lambda: theirs.run(asked))
