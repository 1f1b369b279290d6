"""What is SDXL's own: the overflowing VAE, the second text encoder, empty negatives, latent statistics."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worker import tiny_families
from tests.worker.models import plain
from tests.worker.models.plain import PROMPTS, SEEDS
from worker.evaluation.draw import denoise, draw, noise
from worker.models.base import PipelineFamily
from worker.models.load import load

LoadKind = Callable[..., PipelineFamily]


@pytest.fixture(scope="session")
def loud_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE whose activations leave fp16's range, as SDXL's do."""
    folder = tmp_path_factory.mktemp("families") / "loud"
    pipeline = tiny_families.stable_diffusion_xl(folder)
    convolution = pipeline.vae.decoder.conv_in
    convolution.weight.data *= 3e4 / convolution.weight.data.abs().max()
    pipeline.save_pretrained(folder)
    return folder


class TestHalfPrecision:
    def test_a_vae_that_overflows_is_decoded_in_fp32_as_diffusers_does(self, loud_folder: Path) -> None:
        family = load("sdxl", loud_folder, device="cpu", dtype="fp16")
        latents = noise(family, SEEDS)
        halved = load("sdxl", loud_folder, device="cpu", dtype="fp16").vae.half()
        with torch.no_grad():
            assert not halved.decode(latents / halved.config.scaling_factor).sample.isfinite().all()
        pipeline = plain.load("sdxl", loud_folder, torch.float16)
        pipeline.vae.to(torch.float32)
        with torch.no_grad():
            image = pipeline.vae.decode(latents.float() / pipeline.vae.config.scaling_factor).sample
        expected = pipeline.image_processor.postprocess(image, output_type="np")
        assert image.isfinite().all()
        assert np.array_equal(family.decode(latents).numpy(), (expected * 255).round().astype("uint8"))

    def test_it_draws_and_trains(self, load_kind: LoadKind) -> None:
        family = load_kind("sdxl", dtype="fp16")
        tensors = family.add_adapter(4, ["attention"], seed=0)
        prediction = family.predict(noise(family, SEEDS), 500, family.encode(PROMPTS), guidance=2.0)
        assert prediction.dtype == torch.float16
        gradients = torch.autograd.grad(prediction.float().square().mean(), list(tensors.values()))
        assert all(each.dtype == torch.float32 and each.isfinite().all() for each in gradients)
        assert draw(family, PROMPTS, SEEDS, steps=2).pictures.std() > 0


class TestNegatives:
    @pytest.mark.parametrize("zeros", [True, False])
    def test_an_empty_one_is_what_the_pipeline_says(self, zeros: bool, load_kind: LoadKind) -> None:
        family = load_kind("sdxl")
        family.pipeline.register_to_config(force_zeros_for_empty_prompt=zeros)
        negative = family.encode(["a"]).negative
        assert (negative["encoder_hidden_states"].abs().sum() == 0) == zeros
        assert (negative["text_embeds"].abs().sum() == 0) == zeros
        assert negative["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]]

    def test_one_that_says_something_is_encoded(self, folder_of: Callable[[str], Path], load_kind: LoadKind) -> None:
        family, negatives = load_kind("sdxl"), ["grey", "dull", "no"]
        pipeline = plain.load("sdxl", folder_of("sdxl"))
        expected = plain.draw(pipeline, guidance=3.0, steps=3, negative_prompt=negatives)
        drawn = denoise(family, noise(family, SEEDS), family.encode(PROMPTS, negatives), guidance=3.0, steps=3)
        torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)


def test_latents_with_their_own_statistics_are_decoded_by_them(
    folder_of: Callable[[str], Path], load_kind: LoadKind
) -> None:
    """As some of SDXL's offspring have them."""
    statistics = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.1, 0.9, 1.0, 1.2]}
    family, pipeline = load_kind("sdxl"), plain.load("sdxl", folder_of("sdxl"))
    family.vae.register_to_config(**statistics)
    pipeline.vae.register_to_config(**statistics)
    expected = plain.draw(pipeline, guidance=2.0, steps=2, kind="np")
    drawn = draw(family, PROMPTS, SEEDS, guidance=2.0, steps=2).pictures
    assert np.abs(drawn.astype(int) - (expected * 255).round().astype(int)).max() <= 1
    there = noise(family, SEEDS).float()
    torch.testing.assert_close(family._scaled(family._unscaled(there)), there)
