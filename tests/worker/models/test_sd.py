"""Stable Diffusion against plain diffusers, which is the reference for every number here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from worker.evaluation.draw import denoise, draw, noise
from worker.models.load import load
from worker.models.sd import StableDiffusion

PROMPTS = ["a red dot", "blue", "no"]
SEEDS = [3, 5, 2**40]
GROUPS = ["attention", "feed-forward", "conv"]


def plain(folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def plain_draw(pipeline: StableDiffusionPipeline, *, guidance: float, steps: int, kind: str) -> Tensor | np.ndarray:
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in SEEDS]
    return pipeline(
        PROMPTS, guidance_scale=guidance, num_inference_steps=steps, generator=generators, output_type=kind
    ).images


def latents(family: StableDiffusion, *, guidance: float, steps: int) -> Tensor:
    return denoise(family, noise(family, SEEDS), family.encode(PROMPTS), guidance=guidance, steps=steps)


def random_adapter(family: StableDiffusion, groups: Sequence[str] = GROUPS) -> dict[str, Tensor]:
    """Both factors non-zero: with B = 0 every comparison would pass."""
    tensors = family.add_adapter(4, groups, seed=1)
    for place, tensor in enumerate(tensors.values()):
        tensor.data.normal_(std=0.3, generator=torch.Generator().manual_seed(place))
    return tensors


class TestDraw:
    @pytest.mark.parametrize(("guidance", "steps"), [(1.0, 4), (3.0, 4), (1.5, 7)])
    def test_latents_are_plain_diffusers_bit_for_bit(self, sd_folder: Path, guidance: float, steps: int) -> None:
        expected = plain_draw(plain(sd_folder), guidance=guidance, steps=steps, kind="latent")
        ours = latents(load("sd", sd_folder, device="cpu"), guidance=guidance, steps=steps)
        assert torch.equal(ours, expected)

    def test_v_prediction(self, sd_v_folder: Path) -> None:
        expected = plain_draw(plain(sd_v_folder), guidance=2.0, steps=4, kind="latent")
        assert torch.equal(latents(load("sd", sd_v_folder, device="cpu"), guidance=2.0, steps=4), expected)

    def test_bf16(self, sd_folder: Path) -> None:
        pipeline = plain(sd_folder).to(torch.bfloat16)
        expected = plain_draw(pipeline, guidance=2.5, steps=3, kind="latent")
        ours = latents(load("sd", sd_folder, device="cpu", dtype="bf16"), guidance=2.5, steps=3)
        assert ours.dtype == torch.bfloat16
        assert torch.equal(ours, expected)

    def test_pictures_are_plain_diffusers_bytes(self, sd_folder: Path, family: StableDiffusion) -> None:
        expected = plain_draw(plain(sd_folder), guidance=2.0, steps=4, kind="np")
        drawn = draw(family, PROMPTS, SEEDS, guidance=2.0, steps=4)
        assert drawn.pictures.dtype == np.uint8
        assert np.array_equal(drawn.pictures, (expected * 255).round().astype("uint8"))

    def test_nfe_is_counted(self, family: StableDiffusion) -> None:
        assert draw(family, PROMPTS, SEEDS, guidance=1.0, steps=4).nfe == 4
        assert draw(family, PROMPTS, SEEDS, guidance=2.0, steps=4).nfe == 8

    def test_a_picture_does_not_depend_on_its_batch(self, family: StableDiffusion) -> None:
        together = draw(family, PROMPTS, SEEDS, guidance=2.0, steps=4)
        alone = draw(family, PROMPTS, SEEDS, guidance=2.0, steps=4, batch_size=1)
        assert np.abs(together.pictures.astype(int) - alone.pictures.astype(int)).max() <= 1


class TestPredict:
    def test_rows_keep_their_own_time_and_guidance(self, family: StableDiffusion) -> None:
        x, conditions = noise(family, SEEDS), family.encode(PROMPTS)
        with torch.no_grad():
            mixed = family.predict(x, torch.tensor([900, 500, 20]), conditions, guidance=[1.0, 3.0, 2.0])
            for row, (t, guidance) in enumerate([(900, 1.0), (500, 3.0), (20, 2.0)]):
                alone = family.predict(x[row : row + 1], t, conditions[row : row + 1], guidance=guidance)
                torch.testing.assert_close(mixed[row : row + 1], alone, atol=1e-5, rtol=1e-5)

    def test_a_guided_row_costs_two_forwards(self, family: StableDiffusion) -> None:
        before = family.counter.total
        with torch.no_grad():
            family.predict(noise(family, SEEDS), 10, family.encode(PROMPTS), guidance=[1.0, 3.0, 1.0])
        assert (family.counter.total - before).nfe == 4


class TestAdapter:
    def test_plain_diffusers_draws_the_same_with_the_exported_file(
        self, sd_folder: Path, family: StableDiffusion, tmp_path: Path
    ) -> None:
        base = latents(family, guidance=2.0, steps=4)
        (tmp_path / "adapter.safetensors").write_bytes(family.export(random_adapter(family)))
        ours = latents(family, guidance=2.0, steps=4)
        pipeline = plain(sd_folder)
        pipeline.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
        theirs = plain_draw(pipeline, guidance=2.0, steps=4, kind="latent")
        assert (ours - theirs).abs().max() <= 1e-4
        assert (ours - base).abs().max() >= 1e-2

    def test_a_fresh_adapter_changes_nothing(self, family: StableDiffusion) -> None:
        base = latents(family, guidance=2.0, steps=2)
        family.add_adapter(4, GROUPS, seed=0)
        assert torch.equal(latents(family, guidance=2.0, steps=2), base)

    def test_off_is_the_base_and_only_inside_the_block(self, family: StableDiffusion) -> None:
        base = latents(family, guidance=1.0, steps=2)
        random_adapter(family)
        worn = latents(family, guidance=1.0, steps=2)
        with family.adapter_off():
            assert torch.equal(latents(family, guidance=1.0, steps=2), base)
        assert torch.equal(latents(family, guidance=1.0, steps=2), worn)

    def test_folded_is_the_adapter_and_leaves_no_trace(self, family: StableDiffusion) -> None:
        random_adapter(family)
        before = latents(family, guidance=1.0, steps=2)
        with family.adapter_folded():
            torch.testing.assert_close(latents(family, guidance=1.0, steps=2), before, atol=1e-4, rtol=1e-4)
        assert torch.equal(latents(family, guidance=1.0, steps=2), before)

    def test_nothing_but_the_adapter_trains(self, family: StableDiffusion) -> None:
        tensors = family.add_adapter(4, ["attention"], seed=0)
        parts = (family.unet, family.vae, family.pipeline.text_encoder)
        trainable = [p for part in parts for p in part.parameters() if p.requires_grad]
        assert {id(p) for p in trainable} == {id(p) for p in tensors.values()}

    def test_targets_choose_layers(self, family: StableDiffusion) -> None:
        names = family.add_adapter(4, ["feed-forward"], seed=0)
        assert names
        assert all(".ff.net." in name for name in names)

    def test_trains_in_fp32_over_a_bf16_base(self, sd_folder: Path) -> None:
        family = load("sd", sd_folder, device="cpu", dtype="bf16")
        tensors = random_adapter(family)
        prediction = family.predict(noise(family, SEEDS), 500, family.encode(PROMPTS))
        prediction.float().square().mean().backward()
        assert prediction.dtype == torch.bfloat16
        assert {t.dtype for t in tensors.values()} == {torch.float32}
        assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in tensors.values())

    def test_serving_swaps(self, sd_folder: Path, family: StableDiffusion) -> None:
        trainer = load("sd", sd_folder, device="cpu")
        small, base = trainer.export(random_adapter(trainer, ["attention"])), latents(family, guidance=1.0, steps=2)
        expected = latents(trainer, guidance=1.0, steps=2)
        family.load_adapter("small@1", small)
        assert torch.equal(latents(family, guidance=1.0, steps=2), base)
        trainer.unet.delete_adapters("trained")
        family.load_adapter("large@1", trainer.export(random_adapter(trainer)))
        family.wear("large@1")
        torch.testing.assert_close(latents(family, guidance=1.0, steps=2), latents(trainer, guidance=1.0, steps=2))
        family.wear("small@1")
        torch.testing.assert_close(latents(family, guidance=1.0, steps=2), expected)
        family.wear(None)
        assert torch.equal(latents(family, guidance=1.0, steps=2), base)
        family.wear("small@1")
        family.drop_adapter("small@1")
        assert torch.equal(latents(family, guidance=1.0, steps=2), base)
