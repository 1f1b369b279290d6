"""A child that is at work is never silent for long. What that does to a training, nothing, stands in test_run.py."""

import torch
from torch import nn

from worker import pipe
from worker.child.breath import SECONDS, Breath


class TestBreath:
    def test_is_taken_when_a_call_ends_but_no_oftener_than_is_needed(self) -> None:
        said: list[pipe.Message] = []
        now = [0.0]
        breath, module = Breath(said.append, lambda: now[0]), nn.Linear(2, 2)
        breath.with_calls_of(module)
        for now[0] in (1.0, SECONDS - 1, SECONDS, SECONDS + 1, 2 * SECONDS - 1, 2 * SECONDS):
            module(torch.zeros(1, 2))
        assert said == [pipe.Still(), pipe.Still()]
