"""Scaled backwards: fp16's range, without a state to keep. The reference is the same network in fp32."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.worker.sharpening.toy import Toy, world
from worker.sharpening.gradient import chained, unscaled

SCALE = 2.0**16


def losses(shrink: float) -> tuple[Tensor, Tensor, nn.Parameter]:
    """(in fp32, through fp16, θ): the same small frozen network behind the same fp32 adapter."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    adapter, x, frozen = nn.Parameter(draw(8, 8)), draw(16, 8).half(), draw(8, 8).half()
    whole = (x.float() @ adapter) @ frozen.float()
    half = (x.float() @ adapter).half() @ frozen
    return whole.square().mean() * shrink, half.float().square().mean() * shrink, adapter


class TestUnscaled:
    @pytest.mark.parametrize("shrink", [1.0, 2.0**-10, 2.0**-20])
    def test_keeps_what_fp16_would_round_away(self, shrink: float) -> None:
        whole, half, adapter = losses(shrink)
        (reference,) = torch.autograd.grad(whole, (adapter,))
        (found,) = unscaled(half, (adapter,), SCALE)
        assert (found - reference).norm() / reference.norm() < 0.01

    def test_without_a_scale_nothing_is_left(self) -> None:
        _, half, adapter = losses(2.0**-26)
        (found,) = unscaled(half, (adapter,), 1.0)
        assert not found.any()

    def test_takes_a_smaller_scale_where_the_gradient_is_too_large_for_it(self) -> None:
        whole, half, adapter = losses(64.0)
        assert not torch.autograd.grad(half * SCALE, (adapter,), retain_graph=True)[0].isfinite().all()
        (reference,) = torch.autograd.grad(whole, (adapter,))
        (found,) = unscaled(half, (adapter,), SCALE)
        assert (found - reference).norm() / reference.norm() < 0.01

    def test_of_a_loss_that_is_no_number_ends_and_says_so(self) -> None:
        _, half, adapter = losses(float("nan"))
        assert not unscaled(half, (adapter,), SCALE)[0].isfinite().any()

    @pytest.mark.parametrize("scale", [1.0, SCALE])
    def test_changes_no_bit_in_fp32(self, scale: float) -> None:
        (whole, _, adapter), (again, _, same) = losses(1.0), losses(1.0)
        assert torch.equal(unscaled(whole, (adapter,), scale)[0], torch.autograd.grad(again, (same,))[0])


class TestChained:
    @pytest.mark.parametrize("size", [1, 4, 5, 12])
    @pytest.mark.parametrize("scale", [1.0, SCALE])
    def test_is_the_gradient_of_the_loss_that_is_no_sum_over_rows(self, scale: float, size: int) -> None:
        """4 terms, each a curved function of the errors of 3 rows, against autograd over the whole."""
        toy, made = Toy(), world(Toy())
        x = torch.randn(12, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        sizes: list[int] = []

        def errors(rows: slice) -> Tensor:
            sizes.append(rows.stop - rows.start)
            return (x[rows] @ toy.theta).square().mean(dim=1)

        def terms(found: Tensor) -> tuple[Tensor, ...]:
            sums = found.view(4, 3).sum(dim=1)
            return (1 + sums * sums.roll(1)).log(), sums

        loss, sums = terms(errors(slice(0, 12)))
        (whole,) = torch.autograd.grad(loss.mean(), toy.theta)
        sizes.clear()
        made = replace(made, parameters=(toy.theta,), loss_scale=scale)
        (gradient,), seen = chained(made, 12, size, errors, terms)
        torch.testing.assert_close(gradient, whole)
        torch.testing.assert_close(seen, (loss.detach(), sums.detach()))
        assert max(sizes) == size
