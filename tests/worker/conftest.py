"""Tiny real models, made once a test run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.worker import tiny
from worker.models.load import load
from worker.models.sd import StableDiffusion


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
