"""Adapters that change what is drawn, as a job's file and as the engine takes them."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future

import torch

from worker.inference.adapters.file import read
from worker.inference.engine.requests import LoraFile, Worn
from worker.models.base import PipelineFamily

LINEAR = ("attention", "feed-forward")
ALL = (*LINEAR, "conv")


def random_files(
    family: PipelineFamily, seeds: Sequence[int], *, rank: int = 4, targets: Sequence[str] = LINEAR
) -> list[bytes]:
    """One for each seed, with B ≠ 0: with B = 0 every test of it would pass. The family wears the new layers afterwards."""
    tensors = family.add_adapter(rank, list(targets), 0)
    files = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        drawn = {name: torch.randn(each.shape, generator=generator) * 0.3 for name, each in tensors.items()}
        files.append(family.export(drawn))
    return files


def random_file(family: PipelineFamily, seed: int, *, rank: int = 4, targets: Sequence[str] = LINEAR) -> bytes:
    return random_files(family, [seed], rank=rank, targets=targets)[0]


def lora_file(data: bytes, reference: str = "red-things@1") -> LoraFile:
    return read(reference, hashlib.sha256(data).hexdigest(), data)


def worn(data: bytes, *, weight: float = 1.0, reference: str = "red-things@1") -> Worn:
    """Loaded already."""
    loaded: Future[LoraFile] = Future()
    file = lora_file(data, reference)
    loaded.set_result(file)
    return Worn(loaded, reference, file.sha256, weight)
