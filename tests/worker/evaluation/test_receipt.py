"""A receipt's figures: counted at the denoiser, the base by plain diffusers alone, and one call too many seen."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig

from service.domain import prompts as texts
from service.domain.receipts import Measured, Memory, faults
from tests.worker.evaluation.receipts import JUDGES, PLAN, here, with_adapter, worn
from worker.evaluation.draw import draw
from worker.evaluation.receipt import Judge, Judges, fitting, measure, split
from worker.evaluation.receipt_latency import latency
from worker.evaluation.receipt_sides import Setting, Side, Sides, counted, foreign_layers, plain
from worker.models.base import PipelineFamily
from worker.models.load import load
from worker.rewards.jpeg import JpegCompressibility

LoadKind = Callable[..., PipelineFamily]


@pytest.fixture(scope="module")
def base(sd_folder: Path) -> PipelineFamily:
    return load("sd", sd_folder, device="cpu")


@pytest.fixture(scope="module")
def adapted(sd_folder: Path) -> PipelineFamily:
    return with_adapter(load("sd", sd_folder, device="cpu"))


@pytest.fixture(scope="module")
def measured(base: PipelineFamily, adapted: PipelineFamily) -> Measured:
    return measure(here(Sides(plain(base), worn(adapted))), PLAN, JUDGES)


class TestMeasure:
    def test_counts_the_same_calls_on_both_sides(self, measured: Measured) -> None:
        assert (measured.calls.base, measured.calls.adapter, measured.calls.ratio) == (4.0, 4.0, 1.0)
        assert not any("calls" in reason for reason in faults(measured))

    def test_draws_every_picture_on_both_sides(
        self, measured: Measured, base: PipelineFamily, adapted: PipelineFamily
    ) -> None:
        setting = {"guidance": 2.0, "steps": 2}
        pictures = [draw(family, PLAN.each, PLAN.seeds, **setting).pictures for family in (base, adapted)]
        scores = [JpegCompressibility()(torch.from_numpy(each), PLAN.each).numpy() for each in pictures]
        assert np.abs(pictures[0].astype(int) - pictures[1].astype(int)).max() > 8, "the adapter does something"
        assert measured.reward.adapter_mean == pytest.approx(scores[1].mean(), abs=0.01)
        assert measured.reward.gain == pytest.approx(scores[1].mean() - scores[0].mean(), abs=0.02)
        assert measured.reward.win_rate == pytest.approx((scores[1] > scores[0]).mean())

    def test_says_what_was_drawn_and_how(self, measured: Measured) -> None:
        drawing = measured.drawing
        assert (drawing.prompts_sha256, drawing.prompt_count) == (texts.digest(PLAN.prompts), 2)
        assert (drawing.seeds, drawing.batch_sizes) == ((0, 1, 2, 3), (4,))
        assert (drawing.num_inference_steps, drawing.guidance_scale, drawing.resolution) == (2, 2.0, 64)
        assert drawing.base_sha256 != drawing.adapter_sha256

    def test_times_pairs_and_looks_at_memory(self, measured: Measured) -> None:
        assert measured.latency.pairs == PLAN.pairs
        low, high = measured.latency.ratio_ci95
        assert 0 < low <= measured.latency.ratio <= high
        assert measured.memory.kind == "process"
        assert (measured.memory.base_bytes or 0) > 50 * 2**20

    def test_what_lies_beside_the_base_is_not_the_bases(self, base: PipelineFamily, adapted: PipelineFamily) -> None:
        """A quarter of a gigabyte of slots: told by itself, and no part of what the base takes."""

        def taken(slots_bytes: int) -> Memory:
            sides = Sides(replace(plain(base), slots_bytes=slots_bytes), worn(adapted))
            return measure(here(sides), PLAN, JUDGES).memory

        without = taken(0)
        slots = torch.ones(2**28, dtype=torch.uint8)
        beside = taken(slots.nbytes)
        assert (without.slots_bytes, beside.slots_bytes) == (0, slots.nbytes)
        assert beside.base_bytes == pytest.approx(without.base_bytes, abs=2**27)
        assert (beside.adapter_bytes or 0) > (without.adapter_bytes or 0) + 2**27

    def test_of_an_adapter_of_zeros_is_a_tie(self, base: PipelineFamily, sd_folder: Path) -> None:
        nothing = with_adapter(load("sd", sd_folder, device="cpu"), strength=0.0)
        judgement = measure(here(Sides(plain(base), worn(nothing))), PLAN, JUDGES).reward
        assert judgement.gain == pytest.approx(0, abs=0.02), "the two draw alike but for rounding"

    def test_tells_how_far_it_is_and_ends_at_one(self, base: PipelineFamily, adapted: PipelineFamily) -> None:
        shares: list[float] = []
        measure(here(Sides(plain(base), worn(adapted))), PLAN, JUDGES, shares.append)
        assert shares == sorted(shares)
        assert shares[-1] == 1.0

    def test_asks_a_held_out_judge_about_the_same_pictures(self, base: PipelineFamily, adapted: PipelineFamily) -> None:
        coarse = Judge(JpegCompressibility(20), {"type": "jpeg-compressibility", "quality": 20})
        found = measure(here(Sides(plain(base), worn(adapted))), PLAN, Judges(JUDGES.job, coarse))
        assert found.held_out is not None
        assert found.held_out.reward == coarse.recipe
        assert found.held_out.base_mean > found.reward.base_mean, "fewer kilobytes at a lower quality"
        assert found.held_out_missing is None


class TestPlantedCall:
    def test_makes_the_receipt_fail_and_says_why(self, base: PipelineFamily, adapted: PipelineFamily) -> None:
        """One forward more, of one row, anywhere in the adapter's path."""
        honest = worn(adapted)
        sides = Sides(plain(base), Side(adapted.denoiser, _once_more(adapted, honest)))
        found = measure(here(sides), PLAN, JUDGES)
        assert found.calls.ratio > 1
        assert any("denoiser calls" in reason and "not 1.000" in reason for reason in faults(found))

    def test_saved_is_no_better(self, base: PipelineFamily, adapted: PipelineFamily) -> None:
        def fewer(prompts: Sequence[str], seeds: Sequence[int], setting: Setting) -> np.ndarray:
            return worn(adapted).draw(prompts, seeds, replace(setting, steps=1))

        found = measure(here(Sides(plain(base), Side(adapted.denoiser, fewer))), PLAN, JUDGES)
        assert found.calls.ratio == 0.5
        assert faults(found)


def _once_more(family: PipelineFamily, side: Side) -> Callable[..., np.ndarray]:
    def drawn(prompts: Sequence[str], seeds: Sequence[int], setting: Setting) -> np.ndarray:
        with torch.no_grad():
            family.predict(torch.zeros(1, *family.latent_shape), 1, family.encode(prompts[:1]))
        return side.draw(prompts, seeds, setting)

    return drawn


KINDS = ["sd", "sd-v", "sdxl", "sd3", "sd3-without-t5", "sd3-dynamic", "flux-dev", "flux-schnell"]


class TestPlain:
    @pytest.mark.parametrize("kind", KINDS)
    def test_draws_what_every_family_draws_by_itself(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        setting, prompts, seeds = Setting(2.0, 2), ["a red dot", "blue"], [3, 5]
        with counted(family.denoiser) as rows:
            pictures = plain(family).draw(prompts, seeds, setting)
        ours = draw(family, prompts, seeds, guidance=2.0, steps=2)
        assert np.abs(pictures.astype(int) - ours.pictures.astype(int)).max() <= 1
        assert rows.seen == ours.nfe * 2

    def test_leaves_the_pipeline_its_scheduler(self, load_kind: LoadKind) -> None:
        family = load_kind("sdxl")
        before = family.pipeline.scheduler
        plain(family).draw(["blue"], [0], Setting(1.0, 1))
        assert family.pipeline.scheduler is before

    def test_refuses_a_denoiser_that_has_an_adapters_layers(self, sd_folder: Path) -> None:
        family = load("sd", sd_folder, device="cpu")
        assert foreign_layers(family.denoiser) == []
        family.denoiser.add_adapter(LoraConfig(r=1, target_modules=["to_q"]))
        with pytest.raises(ValueError, match="to_q"):
            plain(family).draw(["blue"], [0], Setting(1.0, 1))


class TestBreakEven:
    """By hand: two prompts of two pictures; the search picks by the first reward, the second is the judge."""

    def measured(
        self, base: PipelineFamily, adapted: PipelineFamily, *rewards: list[float], seeds: int = 4
    ) -> Measured:
        scores = iter(rewards)
        judges = [Judge(lambda pictures, prompts: torch.tensor(next(scores)), {"type": "planned"}) for _ in range(2)]
        plan = replace(PLAN, seeds=tuple(range(seeds)))
        return measure(here(Sides(worn(base), worn(adapted))), plan, Judges(*judges))

    def test_is_the_training_over_what_search_spends_beyond_one_picture(
        self, base: PipelineFamily, adapted: PipelineFamily
    ) -> None:
        # pictures 0 and 2 are of the first prompt, 1 and 3 of the second; best of 2 finds both right ones
        found = self.measured(base, adapted, [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 0])
        assert (found.break_even.best_of, found.break_even.images) == (2, round(1600 / 4))

    def test_is_open_where_the_pool_is_too_small(self, base: PipelineFamily, adapted: PipelineFamily) -> None:
        found = self.measured(base, adapted, [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 0])
        assert found.break_even.images is None
        assert "best of 2" in (found.break_even.reason or "")

    def test_is_open_where_nothing_was_gained(self, base: PipelineFamily, adapted: PipelineFamily) -> None:
        found = self.measured(base, adapted, [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1])
        assert "gains nothing" in (found.break_even.reason or "")

    def test_is_open_where_one_picture_of_each_prompt_was_drawn(
        self, base: PipelineFamily, adapted: PipelineFamily
    ) -> None:
        found = self.measured(base, adapted, [0, 0], [0, 0], [0, 0], [1, 1], seeds=2)
        assert "nothing to choose from" in (found.break_even.reason or "")


def test_batches_are_of_sizes_that_need_no_padding() -> None:
    for count in range(1, 40):
        batches = split(count)
        assert [place for rows in batches for place in range(count)[rows]] == list(range(count))
        assert {rows.stop - rows.start for rows in batches} <= {1, 2, 4, 8}


def test_a_slow_model_draws_in_smaller_batches() -> None:
    """Others wait six seconds at most, unless a single picture takes longer."""
    assert [fitting(seconds) for seconds in (0.1, 0.75, 0.76, 1.4, 2.9, 60.0)] == [8, 8, 4, 4, 2, 1]
    assert [rows.stop - rows.start for rows in split(5, most=2)] == [2, 2, 1]


def test_the_median_ratio_is_of_pairs_and_its_interval_holds_it() -> None:
    found = latency([(1.0, 1.1), (2.0, 2.2), (1.0, 3.0), (4.0, 4.4), (1.0, 1.1)])
    assert (found.base_seconds, found.pairs) == (1.0, 5)
    assert found.ratio == pytest.approx(1.1)
    assert found.ratio_ci95[0] == pytest.approx(1.1)
    assert found.ratio_ci95[1] == pytest.approx(3.0)
