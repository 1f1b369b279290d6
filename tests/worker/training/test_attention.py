"""cuDNN's attention is out of an update's reach, and only out of its (attention.py has the sources)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.worker.training.conftest import PROMPTS, bright, recipe
from worker.models.load import load
from worker.training.events import Stepped
from worker.training.loop import train


@pytest.fixture(params=[True, False])
def allowed(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the process lets torch choose it."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(request.param)
    yield request.param
    torch.backends.cuda.enable_cudnn_sdp(before)


def test_no_update_takes_it_and_the_process_has_it_back(allowed: bool, sd_folder: Path) -> None:
    inside = []

    def reward(pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        inside.append(torch.backends.cuda.cudnn_sdp_enabled())
        return bright(pictures, prompts)

    between = [
        torch.backends.cuda.cudnn_sdp_enabled()
        for event in train(load("sd", sd_folder, device="cpu"), reward, recipe(steps=2), PROMPTS)
        if isinstance(event, Stepped)
    ]
    assert inside
    assert not any(inside)
    assert between == [allowed] * 2
