"""Tiny folders of every family, made once a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker import tiny_families
from worker.models.base import PipelineFamily
from worker.models.load import load

FolderOf = Callable[[str], Path]
LoadKind = Callable[..., PipelineFamily]


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    """The folder of a kind (see tiny_families.make)."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tiny_families.make(kind, tmp_path_factory.mktemp("families") / kind)
        return made[kind]

    return folder


@pytest.fixture
def load_kind(folder_of: FolderOf) -> LoadKind:
    """The family of a kind, on the CPU, for 64 px."""

    def loaded(kind: str, **words: str) -> PipelineFamily:
        return load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="cpu", resolution=64, **words)

    return loaded
