"""One job of Stable Diffusion 1.5's real shapes in bf16, with random weights."""

import pytest

from benchmarks.gpu import bases
from tests.worker.training.conftest import PROMPTS, jpeg, recipe
from worker.training.events import Finished, Stepped
from worker.training.loop import train


def test_stable_diffusion_1_5_trains_a_few_steps() -> None:
    events = list(train(bases.make("sd15", "cuda"), jpeg(), recipe(steps=3, rollout_steps=4), PROMPTS))
    losses = [event.loss for event in events if isinstance(event, Stepped)]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert isinstance(events[-1], Finished)
