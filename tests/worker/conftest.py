"""Tiny real models, made once a test run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.worker import tiny, tiny_families
from worker.models.base import PipelineFamily
from worker.models.load import load
from worker.models.sd import StableDiffusion

FolderOf = Callable[[str], Path]
LoadKind = Callable[..., PipelineFamily]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.pipeline_folder(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="session")
def sd_v_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.pipeline_folder(tmp_path_factory.mktemp("models") / "sd-v", prediction_type="v_prediction")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.clip_folder(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture
def family(sd_folder: Path) -> StableDiffusion:
    return load("sd", sd_folder, device="cpu")


@pytest.fixture
def load_family(sd_folder: Path) -> Callable[[], StableDiffusion]:
    return lambda: load("sd", sd_folder, device="cpu")


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
