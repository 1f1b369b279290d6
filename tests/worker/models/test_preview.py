"""Previews by diffusers' AutoencoderTiny."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from diffusers.image_processor import VaeImageProcessor

from service.domain.errors import JobFailure
from tests.worker import tiny_families
from tests.worker.models.plain import SEEDS
from worker.evaluation.draw import noise
from worker.models import base
from worker.models.base import PipelineFamily
from worker.models.load import load

LoadKind = Callable[..., PipelineFamily]


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3", "flux-dev"])
class TestDecoder:
    def test_it_draws_what_plain_diffusers_draws_with_it(
        self, kind: str, folder_of: Callable[[str], Path], tmp_path: Path
    ) -> None:
        tiny = tiny_families.preview_decoder(tmp_path)
        word = kind.split("-", maxsplit=1)[0]
        family = load(word, folder_of(kind), device="cpu", resolution=64, preview_decoder=tiny)
        latents = noise(family, SEEDS)
        with torch.no_grad():
            image = AutoencoderTiny.from_pretrained(tiny).decode(latents).sample
        expected = VaeImageProcessor().postprocess(image, output_type="np")
        pictures = family.decode_preview(latents)
        assert np.array_equal(pictures.numpy(), (expected * 255).round().astype("uint8"))
        assert not torch.equal(pictures, family.decode(latents))

    def test_without_one_it_is_the_vae(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        latents = noise(family, SEEDS)
        assert torch.equal(family.decode_preview(latents), family.decode(latents))


class TestCounting:
    def test_previews_are_decodes(self, folder_of: Callable[[str], Path], tmp_path: Path) -> None:
        family = load("sd", folder_of("sd"), device="cpu", preview_decoder=tiny_families.preview_decoder(tmp_path))
        family.decode_preview(noise(family, SEEDS))
        assert family.counter.total.decodes == 3


class TestRefusals:
    def test_a_decoder_of_other_latents(self, folder_of: Callable[[str], Path], tmp_path: Path) -> None:
        tiny = tiny_families.preview_decoder(tmp_path, channels=16)
        with pytest.raises(JobFailure, match="reads 16 latent channels and this base model has 4"):
            load("sd", folder_of("sd"), device="cpu", preview_decoder=tiny)

    def test_a_folder_without_a_decoder(self, folder_of: Callable[[str], Path], tmp_path: Path) -> None:
        with pytest.raises(JobFailure, match="AutoencoderTiny") as failure:
            load("sd", folder_of("sd"), device="cpu", preview_decoder=tmp_path)
        assert failure.value.code == "base_unloadable"


class TestMemory:
    def test_a_decoder_gets_a_few_pictures_at_a_time(
        self, folder_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        family = load("sd", folder_of("sd"), device="cpu", preview_decoder=tiny_families.preview_decoder(tmp_path))
        latents = noise(family, [1, 2, 3, 4, 5])
        whole = family.decode(latents), family.decode_preview(latents)
        sizes = []
        for decoder in (family.vae.decoder, family._preview.decoder):
            decoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
        monkeypatch.setattr(base, "DECODED_PIXELS", 2 * 64 * 64)
        for picture, part in zip(whole, (family.decode(latents), family.decode_preview(latents)), strict=True):
            assert (picture.int() - part.int()).abs().max() <= 1
        assert sizes == [2, 2, 1] * 2
