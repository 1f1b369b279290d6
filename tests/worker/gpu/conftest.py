"""What needs a CUDA device: `pytest -m gpu tests/worker/gpu`. Tiny models, but for SD1.5's real shapes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worker.models.base import PipelineFamily
from worker.models.load import load

OnGPU = Callable[..., PipelineFamily]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of this folder alone: pytest hands over every test of the run."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))


@pytest.fixture
def on_gpu(folder_of: Callable[[str], Path]) -> OnGPU:
    """The family of a kind, on the GPU, for 64 px."""

    def loaded(kind: str, **words: object) -> PipelineFamily:
        of_kind = kind.split("-", maxsplit=1)[0]
        return load(of_kind, folder_of(kind), device="cuda", resolution=64, **words)  # type: ignore[arg-type, return-value]

    return loaded
