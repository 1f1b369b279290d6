"""Adapters in a store with their manifests, as jobs leave them; and a store that counts, and can be held up."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from service.domain.adapters import AdapterVersion
from service.domain.artifacts import Artifact, Kind, Manifest, ManifestFile
from service.domain.ids import Fence, JobId, TenantId, new_job_id
from service.domain.outside import Store

TENANT = TenantId("local")
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def adapter_bytes(seed: int, *, width: int = 32, rank: int = 2) -> bytes:
    """A whole file of one layer, about 16 · width · rank bytes of numbers."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, width, generator=generator), torch.randn(width, rank, generator=generator)
    layer = "unet.mid_block.attentions.0.to_q"
    return safetensors.torch.save({f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b})


@dataclass
class CountingStore:
    """`opened`: key → how often. While `gate` is clear, whoever opens waits; `waiting` says how many do."""

    store: Store
    opened: Counter[str] = field(default_factory=Counter)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self.gate.set()

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        self.opened[key] += 1
        self.entered.release()
        assert self.gate.wait(30)
        return self.store.open(key, start, end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@dataclass
class Shelf:
    """Puts adapters into a store; each is the next version of red-things."""

    store: CountingStore
    folder: Path
    made: int = 0

    def put(self, data: bytes, *, tenant: TenantId = TENANT, base: str = "tiny", **of_manifest: Any) -> AdapterVersion:
        job, sha256 = new_job_id(), hashlib.sha256(data).hexdigest()
        self.made += 1
        file = self._artifact(job, "adapter.safetensors", Kind.ADAPTER, data)
        manifest = self._artifact(
            job, "manifest.json", Kind.MANIFEST, manifest_of(file, base, **of_manifest).canonical()
        )
        assert file.sha256 == sha256
        return AdapterVersion(
            tenant, "red-things", self.made, base, job, file, manifest.key, manifest.sha256, CREATED, base_revision="1"
        )  # fmt: skip

    def replace(self, key: str, data: bytes) -> None:
        path = self.folder / "replaced"
        path.write_bytes(data)
        self.store.put_file(key, path)

    def _artifact(self, job: JobId, name: str, kind: Kind, data: bytes) -> Artifact:
        key = f"jobs/{job}/1/{name}"
        self.replace(key, data)
        return Artifact(job, Fence(1), 3, kind, name, key, len(data), hashlib.sha256(data).hexdigest(), CREATED)


def manifest_of(file: Artifact, base: str, **changes: Any) -> Manifest:
    line = ManifestFile(**{name: getattr(file, name) for name in ManifestFile.model_fields})
    whole = Manifest(
        job=file.job, base_model=base, base_revision="1", base_licence="", family="sd", method={}, reward={}, lora={}, seed=0,
        steps=3, prompts_sha256="", prompt_count=1, code_version="test", licence="", training_nfe=1, training_fe=1.0,
        files=(line,),
    )  # fmt: skip
    return whole.model_copy(update=changes)


def with_file(version: AdapterVersion, **changes: Any) -> AdapterVersion:
    return replace(version, file=replace(version.file, **changes))
