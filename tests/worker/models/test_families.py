"""What every family promises, each against its own plain diffusers pipeline."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from service.domain.errors import JobFailure
from tests.worker.models import plain
from tests.worker.models.plain import PROMPTS, SEEDS
from worker.evaluation.draw import denoise, draw, noise
from worker.models.base import PipelineFamily
from worker.models.counter import Counts

FolderOf = Callable[[str], Path]
LoadKind = Callable[..., PipelineFamily]

KINDS = ["sd", "sd-v", "sdxl", "sd3", "sd3-without-t5", "sd3-dynamic", "flux-dev", "flux-schnell"]

pytestmark = pytest.mark.parametrize("kind", KINDS)


def groups(kind: str) -> list[str]:
    return ["attention", "feed-forward"] + (["conv"] if kind in ("sd", "sd-v", "sdxl") else [])


def random_adapter(family: PipelineFamily, targets: Sequence[str], seed: int = 0) -> dict[str, Tensor]:
    """Both factors non-zero: with B = 0 every comparison would pass."""
    tensors = family.add_adapter(4, targets, seed=1)
    for place, tensor in enumerate(tensors.values()):
        tensor.data.normal_(std=0.3, generator=torch.Generator().manual_seed(seed + place))
    return tensors


def latents(family: PipelineFamily, *, guidance: float = 2.0, steps: int = 3) -> Tensor:
    return denoise(family, noise(family, SEEDS), family.encode(PROMPTS), guidance=guidance, steps=steps)


class TestDraw:
    @pytest.mark.parametrize(("guidance", "steps"), [(1.0, 3), (2.5, 4)])
    def test_latents_are_those_of_plain_diffusers(
        self, kind: str, guidance: float, steps: int, folder_of: FolderOf, load_kind: LoadKind
    ) -> None:
        fed = 3.5 if kind == "flux-dev" and guidance == 1 else guidance
        expected = plain.draw(plain.load(kind, folder_of(kind)), guidance=fed, steps=steps)
        torch.testing.assert_close(
            latents(load_kind(kind), guidance=guidance, steps=steps), expected, atol=1e-4, rtol=0
        )

    def test_pictures_are_those_of_plain_diffusers(self, kind: str, folder_of: FolderOf, load_kind: LoadKind) -> None:
        expected = plain.draw(plain.load(kind, folder_of(kind)), guidance=2.0, steps=2, kind="np")
        drawn = draw(load_kind(kind), PROMPTS, SEEDS, guidance=2.0, steps=2).pictures
        assert np.abs(drawn.astype(int) - (expected * 255).round().astype(int)).max() <= 1

    def test_pictures_are_encoded_as_plain_diffusers_encodes_them(
        self, kind: str, folder_of: FolderOf, load_kind: LoadKind
    ) -> None:
        family, pipeline = load_kind(kind), plain.load(kind, folder_of(kind))
        pictures = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            image = pipeline.image_processor.preprocess(pictures.numpy() / np.float32(255))
            encoded = pipeline.vae.encode(image).latent_dist.mode()
        shift = pipeline.vae.config.get("shift_factor") or 0.0
        expected = (encoded - shift) * pipeline.vae.config.scaling_factor
        torch.testing.assert_close(family.latents(pictures), expected, atol=1e-5, rtol=1e-4)
        with pytest.raises(JobFailure, match="64×64"):
            family.latents(pictures[:, :32])

    def test_bf16(self, kind: str, folder_of: FolderOf, load_kind: LoadKind) -> None:
        expected = plain.draw(plain.load(kind, folder_of(kind), torch.bfloat16), guidance=2.5, steps=2)
        drawn = latents(load_kind(kind, dtype="bf16"), guidance=2.5, steps=2)
        assert drawn.dtype == torch.bfloat16
        torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)

    def test_prompts_are_heard(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        x = noise(family, [1, 1])
        with torch.no_grad():
            one, other = family.predict(x, family.train_timesteps // 2, family.encode(["a", "b"]))
        assert (one - other).abs().max() > 1e-5


class TestPredict:
    def test_rows_keep_their_own_time_and_guidance(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        x, conditions = noise(family, SEEDS), family.encode(PROMPTS)
        rows = [(900, 1.0), (500, 3.0), (20, 2.0)]
        with torch.no_grad():
            t, guidance = zip(*rows, strict=True)
            mixed = family.predict(x, torch.tensor(t), conditions, guidance=guidance)
            for row, (when, scale) in enumerate(rows):
                alone = family.predict(x[row : row + 1], when, conditions[row : row + 1], guidance=scale)
                torch.testing.assert_close(mixed[row : row + 1], alone, atol=1e-5, rtol=1e-5)

    def test_what_guidance_costs_is_counted(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        family.add_adapter(4, ["attention"], seed=0)
        x, conditions = noise(family, SEEDS), family.encode(PROMPTS)
        before = family.counter.total
        family.predict(x, 10, conditions, guidance=[1.0, 3.0, 1.0])
        with torch.no_grad():
            family.predict(x, 10, conditions)
        family.decode(x)
        guided = 0 if kind.startswith("flux") else 1
        assert family.counter.total - before == Counts(nfe=6 + guided, gradient_forwards=3 + guided, decodes=3)


class TestProcess:
    def test_a_perfect_prediction_previews_the_clean_latent_and_steps_towards_it(
        self, kind: str, load_kind: LoadKind
    ) -> None:
        family = load_kind(kind)
        sampler = family.sampler(10)
        clean, eps = noise(family, [1]), noise(family, [2])
        t, following = (torch.tensor([sampler.timesteps[index]]) for index in (4, 5))
        stepped, preview = sampler.step(family.target(clean, eps, t), 4, family.renoise(clean, eps, t))
        torch.testing.assert_close(preview, clean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(stepped, family.renoise(clean, eps, following), atol=1e-3, rtol=1e-3)

    def test_places_of_the_training_schedule_rise_in_noise(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        clean, eps = torch.ones(1000, *family.latent_shape), torch.zeros(1000, *family.latent_shape)
        signal = family.renoise(clean, eps, torch.arange(1000))[:, 0, 0, 0]
        assert (signal.diff() < 0).all()
        assert signal[0] > 0.95
        assert signal[-1] < 0.1


class TestAdapter:
    def test_plain_diffusers_draws_the_same_with_the_exported_file(
        self, kind: str, folder_of: FolderOf, load_kind: LoadKind, tmp_path: Path
    ) -> None:
        family = load_kind(kind)
        base = latents(family)
        (tmp_path / "adapter.safetensors").write_bytes(family.export(random_adapter(family, groups(kind))))
        ours = latents(family)
        pipeline = plain.load(kind, folder_of(kind))
        pipeline.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
        theirs = plain.draw(pipeline, guidance=2.0, steps=3)
        assert (ours - theirs).abs().max() <= 1e-4
        assert (ours - base).abs().max() >= 1e-2

    def test_one_step_of_adamw_lowers_the_denoising_loss(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        tensors = list(family.add_adapter(4, groups(kind), seed=0).values())
        clean, eps, conditions = noise(family, SEEDS), noise(family, [7, 8, 9]), family.encode(PROMPTS)
        t = torch.tensor([100, 500, 900])

        def loss() -> Tensor:
            prediction = family.predict(family.renoise(clean, eps, t), t, conditions)
            return (prediction - family.target(clean, eps, t)).square().mean()

        optimiser = torch.optim.AdamW(tensors, lr=1e-2)
        before = loss()
        before.backward()
        optimiser.step()
        assert loss() < before

    def test_gradient_checkpointing_changes_no_gradient(self, kind: str, load_kind: LoadKind) -> None:
        gradients = []
        for checkpointing in (False, True):
            family = load_kind(kind)
            tensors = list(random_adapter(family, groups(kind)).values())
            if checkpointing:
                family.enable_gradient_checkpointing()
            output = family.predict(noise(family, SEEDS), 500, family.encode(PROMPTS))
            gradients.append(torch.autograd.grad(output.square().mean(), tensors))
            assert family.counter.total.nfe == 3
        for plainly, checkpointed in zip(*gradients, strict=True):
            torch.testing.assert_close(checkpointed, plainly)

    def test_off_is_the_base_and_folded_is_the_adapter(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        base = latents(family, steps=2)
        random_adapter(family, groups(kind))
        worn = latents(family, steps=2)
        with family.adapter_off():
            assert torch.equal(latents(family, steps=2), base)
        with family.adapter_folded():
            torch.testing.assert_close(latents(family, steps=2), worn, atol=1e-4, rtol=1e-4)
        assert torch.equal(latents(family, steps=2), worn)
        with family.adapter_off(), family.adapter_folded():
            assert torch.equal(latents(family, steps=2), base)

    def test_nothing_but_the_adapter_trains(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        tensors = family.add_adapter(4, groups(kind), seed=0)
        parts = [part for part in family.pipeline.components.values() if isinstance(part, torch.nn.Module)]
        trainable = {id(p) for part in parts for p in part.parameters() if p.requires_grad}
        assert trainable == {id(p) for p in tensors.values()}

    def test_serving_swaps(self, kind: str, load_kind: LoadKind) -> None:
        family, trainer = load_kind(kind), load_kind(kind)
        base = latents(family, steps=2)
        files, expected = [], []
        for seed in (0, 100):
            files.append(trainer.export(random_adapter(trainer, groups(kind), seed)))
            expected.append(latents(trainer, steps=2))
            trainer.denoiser.delete_adapters("trained")
        for name, data in zip("ab", files, strict=True):
            family.load_adapter(name, data)
        assert torch.equal(latents(family, steps=2), base)
        for name, drawn in zip("ab", expected, strict=True):
            family.wear(name)
            torch.testing.assert_close(latents(family, steps=2), drawn)
        family.drop_adapter("b")
        assert torch.equal(latents(family, steps=2), base)
