"""The bench of one SFT step: its two loops are the same step, and what it counts is what the arithmetic says."""

import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.step import __main__ as bench
from benchmarks.step import shapes
from benchmarks.step.loops import CANDIDATES, LENGTH, Bench, published, search_then_recompute
from worker.sharpening.denoising import Examples, denoising_gradient
from worker.sharpening.trajectory import walk_from

START = 10


@pytest.fixture
def small() -> Bench:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**bench.small_unet()).eval()
    text = torch.randn(1, 77, 32)
    return Bench(
        unet, bench.trainable(unet, "weights"), bench.process(), (4, 8, 8),
        inputs=lambda rows: {"encoder_hidden_states": text.expand(rows, -1, -1)},
        judge=lambda previews: previews.detach().tanh().flatten(1).mean(dim=1),
    )  # fmt: skip


def drawn() -> tuple[Tensor, Tensor]:
    return torch.randn(CANDIDATES, 4, 8, 8), torch.randn(CANDIDATES, 4, 8, 8)


def work(call: object) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("train", ["weights", "lora"])
def test_search_then_recompute_has_the_gradient_of_the_published_loop(train: str) -> None:
    assert bench.gradient_difference(train) <= bench.GRADIENT_TOLERANCE


def test_it_is_the_product_s_gradient(small: Bench) -> None:
    clean, noise = drawn()
    ours = search_then_recompute(small, clean, noise, START)
    world, settings, rows = small.world(), small.settings(), torch.zeros(CANDIDATES, dtype=torch.long)
    walked = walk_from(world, settings, clean, noise, rows + START, rows)
    best = int(walked.rewards.sum(dim=1).argmax())
    examples = Examples(
        prompt=torch.zeros(LENGTH, dtype=torch.long), t=walked.t[best], states=walked.states[best],
        target=noise[best].expand(LENGTH, -1, -1, -1), weight=torch.ones(LENGTH),
    )  # fmt: skip
    product, _ = denoising_gradient(world, settings, examples, anchor=0.0)
    for one, other in zip(ours, product, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_what_is_counted_is_nine_forwards_with_backwards_against_nine_and_three(small: Bench) -> None:
    clean, noise = drawn()
    t = torch.zeros(LENGTH, dtype=torch.long)
    forward = work(lambda: small.denoise(clean, t))
    both = work(lambda: torch.autograd.grad(small.denoise(clean, t).sum(), small.parameters))
    assert work(lambda: published(small, clean, noise, START, detach=True)) == pytest.approx(3 * both, rel=1e-3)
    assert work(lambda: search_then_recompute(small, clean, noise, START)) == pytest.approx(
        3 * forward + both, rel=1e-3
    )


def test_the_shapes_are_the_real_ones() -> None:
    with torch.device("meta"):
        for model, config in (("sd15", shapes.SD15_UNET), ("sdxl", shapes.SDXL_UNET)):
            unet = UNet2DConditionModel(**config)
            assert sum(each.numel() for each in unet.parameters()) == shapes.PARAMETERS[model]


def test_what_is_committed_says_which_goals_were_met() -> None:
    rows = json.loads(bench.RESULTS.read_text())
    assert {row["model"] for row in rows} == {"small U-Net", "sd15-512", "sdxl-512", "sdxl-1024"}
    for row in rows:
        assert row.keys() == {"name", "model", "ours_flops", "theirs_flops", "ratio", "goal", "met"}
        assert row["met"] == (None if row["goal"] is None else row["ratio"] <= row["goal"])
        if row["ours_flops"] is not None:
            assert row["ratio"] == pytest.approx(row["ours_flops"] / row["theirs_flops"], abs=1e-4)
