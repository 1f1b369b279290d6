"""Every method trains on every family: no branch by family anywhere above this room."""

import math
from collections.abc import Callable

import pytest
import safetensors.torch

from tests.worker.training.conftest import METHODS, PROMPTS, jpeg, recipe
from worker.models.base import PipelineFamily
from worker.training.events import Finished, Stepped
from worker.training.loop import train


@pytest.mark.parametrize("kind", ["sdxl", "sd3", "flux-dev"])
@pytest.mark.parametrize("method", METHODS)
def test_one_step_moves_the_adapter(kind: str, method: str, load_kind: Callable[..., PipelineFamily]) -> None:
    job = recipe(method, steps=1, samples={"every": 0}, learning_rate=0.01, ema_decay=0)
    job = job.model_copy(update={"lora": job.lora.model_copy(update={"targets": ("attention",)})})
    events = list(train(load_kind(kind), jpeg(), job, PROMPTS))
    (step,) = (event for event in events if isinstance(event, Stepped))
    assert math.isfinite(step.loss)
    (end,) = (event for event in events if isinstance(event, Finished))
    tensors = safetensors.torch.load(end.adapter)
    read = {
        name for name in tensors if "lora_B" in name and "add_q_proj" not in name
    }  # nobody reads the last text query
    assert all(tensors[name].isfinite().all() and tensors[name].abs().max() > 0 for name in read)
