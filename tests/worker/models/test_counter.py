"""Counting, against sums made by hand."""

import torch

from worker.evaluation.draw import noise
from worker.models.counter import Counts
from worker.models.sd import StableDiffusion


class TestCounter:
    def test_gradient_forwards_are_told_apart(self, family: StableDiffusion) -> None:
        family.add_adapter(4, ["attention"], seed=0)
        x, conditions = noise(family, [1, 2]), family.encode(["a", "b"])
        before = family.counter.total
        family.predict(x, 10, conditions)
        with torch.no_grad():
            family.predict(x, 10, conditions, guidance=2.0)
        with family.adapter_off():
            family.predict(x, 10, conditions)
        family.decode(x)
        assert family.counter.total - before == Counts(nfe=8, gradient_forwards=2, decodes=2)

    def test_fe_adds_the_backwards(self) -> None:
        assert Counts(nfe=100, gradient_forwards=10).fe(1.6) == 116

    def test_backward_cost_is_flops_and_is_not_counted(self, family: StableDiffusion) -> None:
        parameters = list(family.add_adapter(4, ["attention", "feed-forward", "conv"], seed=0).values())
        x, conditions = noise(family, [1]), family.encode(["a"])
        before = family.counter.total
        cost = family.counter.backward_cost(lambda: family.predict(x, 10, conditions), parameters)
        assert family.counter.total == before
        assert 1.0 < cost < 2.0
        assert cost == family.counter.backward_cost(lambda: family.predict(x, 10, conditions), parameters)
