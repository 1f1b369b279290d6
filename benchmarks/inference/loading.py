"""An adapter into a slot, from host memory and from the store, against diffusers' load_lora_weights and delete_adapters."""

import shutil
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from torch._dynamo.testing import CompileCounter

from benchmarks.contest import contest, cost, row
from benchmarks.inference.places import Place
from service.adapters import storage
from tests.worker.inference.drawing import drawn
from tests.worker.inference.stored import TENANT, CountingStore, Shelf
from worker.inference.adapters.cache import AdapterCache
from worker.inference.adapters.disk import DiskLevel
from worker.inference.engine.served import Served

MIB = 2**20
SLOTS = 2
ROUNDS = 4
"""Loads in one turn."""


def rows(place: Place, layers: str, folder: Path, turns: int) -> list[dict[str, Any]]:
    served = Served(place.family(), slots=SLOTS, rank=16)
    theirs = place.family().pipeline
    files, loras = cycle(place.files), cycle([((each, 1.0),) for each in place.loras(len(place.files))])
    home = folder / f"loading-{len(list(folder.iterdir()))}"
    home.mkdir()
    shelf = Shelf(CountingStore(storage.make(f"file://{home}/store")), home)
    versions = cycle([shelf.put(path.read_bytes()) for path in place.files])

    def from_memory() -> None:
        for _ in range(ROUNDS):
            served.slots.place([next(loras)])

    def from_store() -> None:
        """Nothing of it is on this host: read from the store, checked, onto the disk, into memory, into a slot."""
        for _ in range(ROUNDS):
            shutil.rmtree(home / "disk", ignore_errors=True)
            cache = AdapterCache(shelf.store, DiskLevel(home / "disk", 1024 * MIB), 1024 * MIB)
            try:
                served.slots.place([((cache.fetch(TENANT, next(versions)).result(60), 1.0),)])
            finally:
                cache.close()

    def load_and_delete() -> None:
        for _ in range(ROUNDS):
            path = next(files)
            theirs.load_lora_weights(path.parent, weight_name=path.name, adapter_name="one")
            theirs.delete_adapters("one")

    served.slots.place([next(loras)])  # the stacks come into being with the first
    contenders = {"memory": from_memory, "store": from_store, "diffusers": load_and_delete}
    seconds = contest(f"{place.model}, {layers}, loading", contenders, turns)
    recompiles = _recompiles(place)
    made = []
    for name, level, goal in (
        ("an adapter into a slot from host memory : load_lora_weights + delete_adapters", "memory", 0.1),
        ("an adapter into a slot from the store : load_lora_weights + delete_adapters", "store", 0.5),
    ):
        each = {key: round(torch.tensor(seconds[key]).median().item() / ROUNDS, 5) for key in (level, "diffusers")}
        compared = cost(seconds, level, "diffusers")
        made.append(
            row(f"{name}, {layers}", place, compared, goal=("at most", goal), recompiles=recompiles, seconds=each)
        )
    return made


def _recompiles(place: Place) -> int:
    """Compilations that three more adapters cause, after the first: the denoiser goes through torch.compile's front end."""
    served = Served(place.family(), slots=SLOTS, rank=16)
    wearings = [((file, 1.0),) for file in place.loras(4)]
    torch._dynamo.reset()
    compiled = CompileCounter()
    served.family.denoiser.forward = torch.compile(served.family.denoiser.forward, backend=compiled)  # type: ignore[method-assign]
    counts = []
    for wearing in wearings:
        drawn(served, ["a"], [0], guidance=1.0, steps=1, scheduler="ddim", wearings=[wearing], batch_size=1)
        counts.append(compiled.frame_count)
    torch._dynamo.reset()
    return counts[-1] - counts[0]
