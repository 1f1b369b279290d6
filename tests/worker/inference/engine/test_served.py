"""What the engine draws with, family by family: plain diffusers' latents and pictures, and the bits that are promised."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from service.domain.errors import JobFailure
from tests.worker.conftest import FolderOf, LoadKind
from tests.worker.inference.random_adapters import ALL, LINEAR, lora_file, random_file, random_files
from tests.worker.models import plain
from worker.inference.engine.requests import SchedulerName
from worker.inference.engine.running import DISTILLED
from worker.inference.engine.served import Sample, Served, padded
from worker.inference.engine.slots import Wearing
from worker.models.load import load
from worker.models.lora import UNET_TARGETS

KINDS = ["sd", "sd-v", "sdxl", "sd3", "sd3-dynamic", "flux-dev", "flux-schnell"]
OWN: dict[str, SchedulerName] = {"sd": "ddim", "sdxl": "ddim", "sd3": "flow-euler", "flux": "flow-euler"}
STEPS = 4
ACROSS_SIZES = 1e-4
"""Latents, of size about 1, of the same request in calls of other sizes: docs/inference.md has what was measured."""


class World:
    """One base under the engine's hands, and two adapters of it."""

    def __init__(self, load_kind: LoadKind, kind: str) -> None:
        self.kind, self.load_kind = kind, load_kind
        targets = ALL if kind.startswith("sd") and not kind.startswith("sd3") else LINEAR
        self.data = random_files(load_kind(kind), (1, 2), targets=targets)
        files = [lora_file(data, f"red-things@{version}") for version, data in enumerate(self.data, 1)]
        self.wearings: list[Wearing] = [(), ((files[0], 1.0),), ((files[1], 1.0),)]
        self.scheduler = OWN[kind.split("-", maxsplit=1)[0]]
        self.served = self.serve()
        self.plain: DiffusionPipeline | None = None

    def serve(self, *, batch_invariant: bool = False) -> Served:
        return Served(self.load_kind(self.kind), slots=4, rank=8, batch_invariant=batch_invariant)

    def pipeline(self, folder: Path, row: int) -> DiffusionPipeline:
        """Plain diffusers with what the row wears, by load_lora_weights."""
        if self.plain is None:
            self.plain = plain.load(self.kind, folder)
        self.plain.unload_lora_weights()
        if row:
            self.plain.load_lora_weights(safetensors.torch.load(self.data[row - 1]))
        return self.plain

    def begin(self, served: Served, row: int, *, guided: bool = True, steps: int = STEPS) -> Sample:
        """Three rows that differ in everything that samples of one call may differ in."""
        return served.begin(
            plain.PROMPTS[row],
            plain.SEEDS[row],
            guidance=(2.0, 3.5, 7.0)[row] if guided else 1.0,
            steps=steps + row,
            negative=("", "blue", "dim")[row],
            wearing=self.wearings[row],
            scheduler=self.scheduler,
        )


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    return {}


@pytest.fixture
def world_of(worlds: dict[str, World], load_kind: LoadKind) -> Callable[[str], World]:
    """Made once for each kind. Its `served` is shared, as it is between requests."""

    def world(kind: str) -> World:
        if kind not in worlds:
            worlds[kind] = World(load_kind, kind)
        return worlds[kind]

    return world


WorldOf = Callable[[str], World]


def finish(served: Served, samples: list[Sample], size: int) -> None:
    """Step them together until all are done; who is done leaves."""
    while left := [each for each in samples if not each.done]:
        served.step(left, size)


def replay(served: Served, sample: Sample, again: Sample) -> None:
    """The steps of `sample` with `again`, alone in calls of the same sizes."""
    for size in sample.sizes:
        served.step([again], size)


@pytest.mark.parametrize(
    ("kind", "guided"), [*((kind, True) for kind in KINDS), ("sd", False), ("sd3", False), ("flux-dev", False)]
)
def test_latents_and_pictures_of_a_mixed_batch_are_plain_diffusers_one_by_one(
    world_of: WorldOf, folder_of: FolderOf, kind: str, guided: bool
) -> None:
    world = world_of(kind)
    samples = [world.begin(world.served, row, guided=guided) for row in range(3)]
    finish(world.served, samples, 4)
    for row, sample in enumerate(samples):
        pipeline = world.pipeline(folder_of(kind), row)
        words = {"prompts": plain.PROMPTS[row : row + 1], "seeds": plain.SEEDS[row : row + 1], "steps": STEPS + row}
        if row and not kind.startswith("flux"):  # an empty one is none: SDXL has zeros for none, not for ""
            words["negative_prompt"] = [("", "blue", "dim")[row]]
        guidance = (2.0, 3.5, 7.0)[row] if guided else (3.5 if kind.startswith("flux") else 1.0)
        latents = plain.draw(pipeline, guidance=guidance, **words)
        torch.testing.assert_close(sample.latents, latents[0], atol=1e-4, rtol=0)
        picture = (plain.draw(pipeline, guidance=guidance, kind="np", **words)[0] * 255).round().astype(int)
        assert np.abs(world.served.picture(sample).astype(int) - picture).max() <= 1
        forwards = 2 if guided and not kind.startswith("flux") else 1
        assert sample.nfe == forwards * (STEPS + row)
    assert (samples[1].latents - samples[2].latents).abs().max() > 0.01


@pytest.mark.parametrize(
    ("name", "scheduler"), [("euler", EulerDiscreteScheduler), ("dpmpp-2m", DPMSolverMultistepScheduler)]
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, under numpy 2
def test_other_samplers_share_the_call_and_are_plain_diffusers_too(
    world_of: WorldOf, folder_of: FolderOf, name: SchedulerName, scheduler: type
) -> None:
    served = (world := world_of("sd")).served
    words = {"guidance": 3.0, "wearing": world.wearings[1]}
    named = served.begin("a red dot", 3, steps=6, scheduler=name, **words)
    beside = served.begin("a red dot", 3, steps=5, scheduler="ddim", **words)
    finish(served, [named, beside], 2)
    pipeline = plain.load("sd", folder_of("sd"))
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    pipeline.load_lora_weights(safetensors.torch.load(world.data[0]))
    latents = plain.draw(pipeline, guidance=3.0, steps=6, prompts=["a red dot"], seeds=[3])
    torch.testing.assert_close(named.latents, latents[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["sd", "flux-dev"])
def test_in_bf16_a_mixed_batch_is_plain_diffusers_up_to_its_rounding(
    world_of: WorldOf, load_kind: LoadKind, folder_of: FolderOf, kind: str
) -> None:
    world = world_of(kind)
    served = Served(load_kind(kind, dtype="bf16"), slots=4, rank=8)
    samples = [world.begin(served, row) for row in (0, 1)]
    finish(served, samples, 2)
    pipeline = plain.load(kind, folder_of(kind), torch.bfloat16)
    pipeline.load_lora_weights(safetensors.torch.load(world.data[0]))
    words = {"negative_prompt": ["blue"]} if kind == "sd" else {}
    latents = plain.draw(
        pipeline, guidance=3.5, steps=STEPS + 1, prompts=plain.PROMPTS[1:2], seeds=plain.SEEDS[1:2], **words
    )
    assert samples[1].latents.dtype == torch.bfloat16
    scale = latents.abs().max().item()
    torch.testing.assert_close(samples[1].latents / scale, latents[0] / scale, atol=0.03, rtol=0)


class TestSeedContract:
    @pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3", "flux-dev"])
    def test_same_request_and_sizes_same_bits_whatever_the_neighbours(self, world_of: WorldOf, kind: str) -> None:
        """Random company, places, joins and leaves; then each of them alone, its padding copies of itself."""
        world = world_of(kind)
        chance = np.random.default_rng(0)
        samples = [world.begin(world.served, row % 3) for row in range(7)]
        while left := [each for each in samples if not each.done]:
            count = int(chance.integers(1, len(left) + 1))
            size = next(size for size in (1, 2, 4, 8) if size >= count)
            world.served.step([left[row] for row in chance.permutation(len(left))[:count]], size)
        assert len({each.steps for each in samples}) > 3
        for row, sample in enumerate(samples):
            again = world.begin(world.served, row % 3)
            replay(world.served, sample, again)
            assert torch.equal(again.latents, sample.latents)
            np.testing.assert_array_equal(world.served.picture(again), world.served.picture(sample))

    @pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3", "flux-dev"])
    def test_across_sizes_the_stated_tolerance_holds(self, world_of: WorldOf, kind: str) -> None:
        world = world_of(kind)
        drawn = []
        for size in (1, 2, 4, 8):
            sample = world.begin(world.served, 1)
            finish(world.served, [sample], size)
            drawn.append(sample.latents)
        for other in drawn[1:]:
            torch.testing.assert_close(other, drawn[0], atol=ACROSS_SIZES, rtol=0)

    @pytest.mark.parametrize(
        ("kind", "guided"), [("sd", True), ("sd", False), ("sdxl", True), ("sd3", False), ("flux-dev", True)]
    )
    def test_batch_invariant_arithmetic_makes_alone_and_batched_the_same_bits(
        self, world_of: WorldOf, kind: str, guided: bool
    ) -> None:
        world = world_of(kind)
        served = world.serve(batch_invariant=True)
        samples = [world.begin(served, row % 3, guided=guided) for row in range(7)]
        finish(served, samples, 8)
        for row in range(3):
            alone = world.begin(served, row, guided=guided)
            finish(served, [alone], 1)
            assert torch.equal(alone.latents, samples[row].latents)
            np.testing.assert_array_equal(served.picture(alone), served.picture(samples[row]))

    def test_batch_invariance_is_refused_where_it_cannot_be_had(
        self, load_kind: LoadKind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        with pytest.raises(JobFailure, match="STROP_THREADS=1") as caught:
            Served(load_kind("sd", dtype="bf16"), slots=1, rank=4, batch_invariant=True)
        assert caught.value.code == "batch_invariant"
        assert "fp32" in caught.value.message


class TestSteps:
    def test_are_named_run_length(self, world_of: WorldOf) -> None:
        world = world_of("sd")
        sample = world.begin(world.served, 0, steps=6)
        for size in (8, 8, 4, 4, 4, 8):
            world.served.step([sample], size)
        assert (sample.steps, sample.done) == ("8x2,4x3,8x1", True)
        assert sample.sizes == [int(size) for size, run in groupby(sample.sizes) for _ in run]

    def test_that_fail_change_nothing(self, world_of: WorldOf, monkeypatch: pytest.MonkeyPatch) -> None:
        world = world_of("sd")
        sample, twin = (world.begin(world.served, 1) for _ in range(2))
        with monkeypatch.context() as broken:
            broken.setattr("worker.inference.engine.schedulers.advance", lambda *given: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                world.served.step([sample], 2)
        assert (sample.place, sample.nfe, sample.sizes) == (0, 0, [])
        finish(world.served, [sample], 2)
        finish(world.served, [twin], 2)
        assert torch.equal(sample.latents, twin.latents)


@pytest.mark.parametrize("kind", KINDS)
def test_distilled_are_the_families_that_encode_no_negatives(load_kind: LoadKind, kind: str) -> None:
    without = not load_kind(kind).encode(["red"], ["blue"]).negative
    assert (kind.split("-", maxsplit=1)[0] in DISTILLED) == without


class TestPadded:
    def test_up_where_at_most_a_quarter_is_padding_else_down(self) -> None:
        assert [padded(count) for count in range(1, 10)] == [
            (1, 1), (2, 2), (4, 3), (4, 4), (4, 4), (8, 6), (8, 7), (8, 8), (8, 8),
        ]  # fmt: skip
        assert [padded(count, most=2) for count in (1, 2, 3, 8)] == [(1, 1), (2, 2), (2, 2), (2, 2)]


class TestPlain:
    def test_has_nothing_of_ours_in_the_denoiser(self, world_of: WorldOf, load_kind: LoadKind) -> None:
        world = world_of("sd")
        served = world.serve()
        own = [type(each) for each in load_kind("sd").denoiser.modules()]
        finish(served, [world.begin(served, 1)], 1)
        assert [type(each) for each in served.family.denoiser.modules()] != own
        with served.plain() as family:
            assert [type(each) for each in family.denoiser.modules()] == own
            inside = plain.draw(family.pipeline, guidance=2.0, steps=STEPS, prompts=["a red dot"], seeds=[3])
        sample = world.begin(served, 0)
        finish(served, [sample], 1)
        torch.testing.assert_close(sample.latents, inside[0], atol=1e-4, rtol=0)


class TestShapes:
    """The base model that ships."""

    FOLDER = Path("examples/shapes/base")

    @pytest.fixture
    def served(self) -> Iterator[Served]:
        yield Served(load("sd", self.FOLDER, device="cpu"), slots=4, rank=16)

    def test_with_and_without_an_adapter_draws_what_plain_diffusers_draws(self, served: Served) -> None:
        data = random_file(load("sd", self.FOLDER, device="cpu"), 1, rank=16, targets=list(UNET_TARGETS))
        tame = safetensors.torch.save({name: value * 0.3 for name, value in safetensors.torch.load(data).items()})
        prompts, seeds = ["a red circle left of a blue square", "a green star"], [5, 6]
        samples = [
            served.begin(prompt, seed, guidance=2.0, steps=10, wearing=wearing, scheduler="ddim")
            for prompt, seed, wearing in zip(prompts, seeds, [(), ((lora_file(tame), 1.0),)], strict=True)
        ]
        finish(served, samples, 2)
        pipeline = plain.load("sd", self.FOLDER)
        for row, sample in enumerate(samples):
            words = {"prompts": [prompts[row]], "seeds": [seeds[row]], "guidance": 2.0, "steps": 10}
            torch.testing.assert_close(sample.latents, plain.draw(pipeline, **words)[0], atol=1e-4, rtol=0)
            picture = (plain.draw(pipeline, kind="np", **words)[0] * 255).round().astype(int)
            assert np.abs(served.picture(sample).astype(int) - picture).max() <= 1
            if not row:
                pipeline.load_lora_weights(safetensors.torch.load(tame))
