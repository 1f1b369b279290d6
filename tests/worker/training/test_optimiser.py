"""AdamW, schedule, clipping and average, against torch's own and by hand."""

import pytest
import torch

from service.domain.methods import SharpeningRLHF
from worker.training.optimiser import Optimiser, learning_rate


def method(**changes: object) -> SharpeningRLHF:
    return SharpeningRLHF(type="sharpening-rlhf", **{"learning_rate": 0.1, **changes})


class TestLearningRate:
    def test_linear_falls_to_zero_after_the_last_step(self) -> None:
        rates = [learning_rate(method(), step, 4) for step in range(4)]
        assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])

    def test_constant_with_warm_up(self) -> None:
        rates = [learning_rate(method(schedule="constant", warmup_steps=3), step, 9) for step in range(5)]
        assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


class TestOptimiser:
    def test_is_torchs_adamw_with_clipping(self) -> None:
        ours, theirs = torch.ones(3), torch.ones(3, requires_grad=True)
        optimiser = Optimiser({"a": ours}, method(schedule="constant", weight_decay=0.1, max_grad_norm=0.5), 9)
        reference = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.1)
        for step in range(3):
            gradient = torch.tensor([1.0, -2.0, 3.0]) * (step + 1)
            norm = optimiser.apply([gradient], step)
            theirs.grad = gradient.clone()
            torch.nn.utils.clip_grad_norm_([theirs], 0.5)
            reference.step()
            assert norm == pytest.approx(gradient.norm().item())
        torch.testing.assert_close(ours, theirs.detach())

    def test_the_average_lags_by_its_decay(self) -> None:
        value = torch.zeros(1)
        optimiser = Optimiser({"a": value}, method(schedule="constant", ema_decay=0.5), 100)
        expected = 0.0
        for step in range(20):
            optimiser.apply([torch.ones(1)], step)
            decay = min(0.5, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * value.item()
        assert optimiser.average["a"].item() == pytest.approx(expected)

    def test_without_decay_the_average_is_the_adapter(self) -> None:
        value = torch.zeros(2)
        optimiser = Optimiser({"a": value}, method(ema_decay=0.0), 10)
        optimiser.apply([torch.ones(2)], 0)
        assert torch.equal(optimiser.average["a"], value)

    def test_a_norm_that_is_no_number_changes_nothing(self) -> None:
        value = torch.ones(2)
        Optimiser({"a": value}, method(), 10).apply([torch.tensor([1.0, torch.nan])], 0)
        assert torch.equal(value, torch.ones(2))
