"""Every method of the union on tiny bases: what it costs, that it resumes, that it learns, in every family."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.domain.methods import METHODS as UNION
from service.domain.recipes import Recipe
from tests.worker import tiny_families
from tests.worker.training.conftest import METHODS, PROMPTS, bright, recipe
from worker.models.load import load
from worker.training.checkpoint import unpack
from worker.training.events import Checkpointed, Event, Finished, Resumed, Sampled, Stepped, Validated, Warned
from worker.training.loop import train
from worker.training.methods import MOST_ROWS, memory_of, method_of, micro_batch, settings_of
from worker.training.optimiser import Optimiser
from worker.training.world import world_of

Run = Callable[..., Iterator[Event]]
NEVER = {"every": 0}
ROLLOUTS, WALKS = 2 * 3 * 3 * 2, 2 * 3 * 2 * 2
PAIRS, WHOLE_GROUPS, BEST = 2 * 2 * 2, 2 * 2 * 3, 2 * 2
COSTS = {  # (NFE, gradient forwards, decodes) of the first update and of a later one
    "sharpening-rlhf": ((ROLLOUTS + 2 * PAIRS, PAIRS, 2 * 3 * 2),) * 2,
    "renoised": ((ROLLOUTS + WALKS + 2 * PAIRS, PAIRS, 2 * 3 * 2),) * 2,
    "path-weights": ((ROLLOUTS + 2 * WHOLE_GROUPS, WHOLE_GROUPS, 2 * 3 * 2),) * 2,
    "paper": ((3 * 25 + 3 * 3 + 2 * (2 * 3), 2 * 3, 3 * 3),) * 2,  # of one prompt
    "online-dpo": ((ROLLOUTS + 2 * PAIRS, PAIRS, 2 * 3),) * 2,
    "diffusion-dpo": ((ROLLOUTS + 2 * PAIRS, PAIRS, 2 * 3), (2 * PAIRS, PAIRS, 0)),
    "sharpening-sft": ((ROLLOUTS + WALKS + 2 * BEST, BEST, 2 * 3 * 2), (WALKS + 2 * BEST, BEST, 2 * 3 * 2)),
    "sharpening-sft, rollouts": ((ROLLOUTS + 2 * BEST, BEST, 2 * 3 * 2), (2 * BEST, BEST, 0)),
    "noisings": ((ROLLOUTS // 3 + WALKS + 2 * BEST, BEST, 2 * 3 * 2), (WALKS + 2 * BEST, BEST, 2 * 3 * 2)),
    "sft": ((ROLLOUTS + 2 * BEST, BEST, 2 * 3), (2 * BEST, BEST, 0)),
    "sft-on-all": ((ROLLOUTS + 2 * WHOLE_GROUPS, WHOLE_GROUPS, 2 * 3), (2 * WHOLE_GROUPS, WHOLE_GROUPS, 0)),
    "ddpo": ((ROLLOUTS + 2 * 2 * 2 * 2, 2 * 2 * 2 * 2, 2 * 3), (2 * 1 * 2 * 2, 2 * 1 * 2 * 2, 0)),
    "forward-process": ((ROLLOUTS + 3 * WHOLE_GROUPS, WHOLE_GROUPS, 2 * 3),) * 2,
}
"""By hand. Rollouts are 2 prompts × 3 candidates × 3 steps × 2 (guidance), walks × m = 2 steps. Learned from are 2 prompts ×
2 levels × (a pair | all 3), or × the m states of the best, each by the policy and by the reference (of forward-process by the old policy too). DDPO's
first share has two candidates of a prompt, its second one; two of three steps are judged, with guidance."""

every_method = pytest.mark.parametrize("name", METHODS)


def of(kind: type, events: Sequence[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_these_are_all_methods_of_the_union() -> None:
    assert {words["type"] for words in METHODS.values()} == {
        method.model_fields["type"].annotation.__args__[0] for method in UNION
    }


class TestCounts:
    @every_method
    def test_are_those_reckoned_by_hand(self, name: str, run: Run) -> None:
        job = recipe(name, steps=2, samples=NEVER, checkpoint_every=1)
        events = list(run(job, reward=bright, prompts=PROMPTS[:2]))
        costs = [unpack(event.data)[0] for event in of(Checkpointed, events)]
        first, both = (progress.counts for progress in costs)
        spent = [(counts.nfe, counts.gradient_forwards, counts.decodes) for counts in (first, both - first)]
        assert spent == list(COSTS[name])
        assert (both - first).reward_calls == (both - first).decodes
        told = of(Stepped, events)[-1]
        assert told.training_nfe == both.nfe
        assert told.training_fe == round(both.nfe + costs[0].backward_cost * both.gradient_forwards)


class TestResume:
    @every_method
    def test_resumed_is_uninterrupted_bit_for_bit(self, name: str, run: Run) -> None:
        """From the first step: in the middle of DDPO's batch, of the pools, of the calibration of β, of a validation."""
        validation = {"every": 2, "prompts": ["red", "no"], "num_inference_steps": 2}
        job = recipe(
            name, steps=3, samples=NEVER, checkpoint_every=1, validation=validation, learning_rate=0.01, warmup_steps=2
        )
        whole = list(run(job, reward=bright))
        rest = list(run(job, reward=bright, resume=of(Checkpointed, whole)[0].data))
        assert rest[0] == Resumed(1)
        timeless = [[replace(step, seconds=0) for step in of(Stepped, events)] for events in (whole, rest)]
        assert timeless[1] == timeless[0][1:]
        assert of(Checkpointed, rest)[-1].data == of(Checkpointed, whole)[-1].data
        assert of(Finished, rest) == of(Finished, whole)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tiny_families.make(kind, tmp_path_factory.mktemp("families") / kind)
        return made[kind]

    return folder


class TestResumeOfFlows:
    @pytest.mark.parametrize("kind", ["sd3", "flux-dev"])
    @pytest.mark.parametrize("name", ["diffusion-dpo", "sft", "sharpening-sft"])
    def test_what_bf16_drew_is_remembered_in_fp32(self, name: str, kind: str, folder_of: Callable[[str], Path]) -> None:
        """A flow's walk ends in the prediction's type; the pools go into checkpoints, and come back as they were."""

        def run(resume: bytes | None = None) -> list[Event]:
            family = load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="cpu", resolution=64, dtype="bf16")
            return list(train(family, bright, whole, PROMPTS, resume=resume))

        job = recipe(name, steps=2, samples=NEVER, checkpoint_every=1)
        whole = job.model_copy(update={"lora": job.lora.model_copy(update={"targets": ("attention",)})})
        first, last = (event.data for event in of(Checkpointed, run()))
        remembered = unpack(first)[0].memory.tensors
        assert {value.dtype for key, value in remembered.items() if key.startswith("pool/")} == {torch.float32}
        assert of(Checkpointed, run(first))[-1].data == last


class TestMicroBatch:
    @pytest.mark.parametrize(
        ("name", "words", "rows"),
        [
            ("sharpening-rlhf", {}, 8),
            ("sharpening-rlhf", {"rollout_guidance": 7.5}, 8),
            ("sharpening-rlhf", {"loss_guidance": 7.5}, 4),
            ("diffusion-dpo", {"loss_guidance": 7.5}, 4),
            ("sft", {"rollout_guidance": 7.5}, 8),
            ("ddpo", {"rollout_guidance": 1.0}, 8),
            ("ddpo", {"rollout_guidance": 7.5}, 4),
            ("ddpo", {"rollout_guidance": 7.5, "micro_batch": 8}, 8),
        ],
    )
    def test_of_a_guided_loss_is_half_as_many_unless_it_is_given(
        self, name: str, words: dict[str, Any], rows: int
    ) -> None:
        """So that as much is kept for the backward at 512 px; the small pictures of `shapes` are bound by their number."""
        method = recipe(name, **words).method
        assert micro_batch(method, (4, 64, 64), free_guidance=True) == rows
        assert micro_batch(method, (4, 256, 256), free_guidance=True) in (1, 8)
        assert micro_batch(method, (4, 8, 8), free_guidance=True) in (MOST_ROWS, 8)

    @pytest.mark.parametrize(
        ("side", "words", "rows"),
        [(64, {}, 32), (128, {}, 8), (8, {}, MOST_ROWS), (16, {}, MOST_ROWS), (64, {"micro_batch": 8}, 8)],
    )
    def test_a_search_takes_four_times_as_many_up_to_the_most_unless_it_is_given(
        self, side: int, words: dict[str, Any], rows: int
    ) -> None:
        """On a GPU; elsewhere the bits of before are kept."""
        job, shape = recipe(**words), (4, side, side)
        assert settings_of(job, shape, free_guidance=True, on_gpu=True).search_batch == rows
        on_cpu = settings_of(job, shape, free_guidance=True, on_gpu=False)
        assert on_cpu.search_batch == on_cpu.micro_batch

    @pytest.mark.parametrize(
        ("kind", "rows"), [("sd", 256), ("sdxl", 256), ("sd3", 256), ("flux-dev", 512), ("flux-schnell", 512)]
    )
    def test_is_halved_only_where_guidance_is_a_second_forward(
        self, kind: str, rows: int, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a training of that family is bound, and its samples with it."""
        monkeypatch.setattr("worker.training.methods.MOST_ROWS", 1000)
        seen: list[int] = []

        def watched(*given: Any, **named: Any) -> int:
            seen.append(micro_batch(*given, **named))
            return seen[-1]

        for where in ("methods", "trial"):
            monkeypatch.setattr(f"worker.training.{where}.micro_batch", watched)
        family = load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="cpu", resolution=64)
        job = recipe(loss_guidance=7.5, steps=1, samples={"every": 1, "num_inference_steps": 1})
        whole = job.model_copy(update={"lora": job.lora.model_copy(update={"targets": ("attention",)})})
        events = train(family, bright, whole, PROMPTS)
        assert isinstance(next(event for event in events if not isinstance(event, Warned)), Sampled)
        assert seen == [rows, rows]

    @every_method
    @pytest.mark.parametrize(("guidance", "rows"), [(1.0, 1), (2.0, 2)])
    def test_is_the_most_pictures_of_a_call(
        self, guidance: float, rows: int, name: str, folder_of: Callable[[str], Path]
    ) -> None:
        """Watched at the network itself, where guidance doubles the rows of a picture; also where a pair does not fit."""
        family = load("sd", folder_of("sd"), device="cpu", resolution=64)
        calls: list[tuple[int, bool]] = []
        family.denoiser.register_forward_hook(
            lambda module, inputs, output: calls.append((len(inputs[0]), output[0].requires_grad))
        )
        parameters = family.add_adapter(2, ["attention"], seed=0)
        job = recipe(name, micro_batch=1, **({} if name == "paper" else {"rollout_guidance": guidance}))
        method, world = method_of(job, family.latent_shape), world_of(family, bright, parameters, PROMPTS[:2])
        method(world, memory_of(job.method), 0, (0, 1))
        assert max(count for count, _ in calls) == (1 if name == "paper" else rows)
        assert max(count for count, graph in calls if graph) == (rows if name == "ddpo" else 1)

    @every_method
    @pytest.mark.parametrize("micro_batch", [1, 2, 5])
    def test_changes_nothing_beyond_rounding(
        self, micro_batch: int, name: str, folder_of: Callable[[str], Path]
    ) -> None:
        family = load("sd", folder_of("sd"), device="cpu", resolution=64)
        parameters = family.add_adapter(2, ["attention", "conv"], seed=0)
        for place, parameter in enumerate(parameters.values()):
            parameter.data.normal_(std=0.05, generator=torch.Generator().manual_seed(place))
        world = world_of(family, bright, parameters, PROMPTS[:2])
        whole, parts = (
            method_of(job, family.latent_shape)(world, memory_of(job.method), 0, (0, 1))
            for job in (recipe(name), recipe(name, micro_batch=micro_batch))
        )
        one, other = (torch.cat([part.flatten() for part in done.gradient]) for done in (whole, parts))
        assert (other - one).norm() < 1e-3 * one.norm()
        assert parts.metrics.loss == pytest.approx(whole.metrics.loss, rel=1e-3)
        assert parts.metrics.ties == whole.metrics.ties


class TestHalfPrecision:
    @pytest.mark.parametrize(
        ("dtype", "name"),
        [
            *(("bf16", name) for name in METHODS),
            *(("fp16", name) for name in ("sharpening-rlhf", "sharpening-sft", "ddpo")),
        ],
    )
    def test_the_adapter_its_gradient_and_the_loss_stay_fp32(
        self, dtype: str, name: str, folder_of: Callable[[str], Path]
    ) -> None:
        """Near what fp32 gives from the same adapter, which is not the base: there some losses are the same number
        whatever was computed. The second update is DDPO's second share and the pools' reuse."""
        losses, gradients = [], []
        for precision in ("fp32", dtype):
            family = load("sd", folder_of("sd"), device="cpu", resolution=64, dtype=precision)
            parameters = family.add_adapter(2, ["attention"], seed=0)
            for place, parameter in enumerate(parameters.values()):
                parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(place))
            job = recipe(name)
            method, world = method_of(job, family.latent_shape), world_of(family, bright, parameters, PROMPTS[:2])
            first = method(world, memory_of(job.method), 0, (0, 1))
            second = method(world, first.memory, 1, (0, 1))
            for part in (*first.gradient, *second.gradient):
                assert part.dtype == torch.float32
                assert part.isfinite().all()
            losses.append([first.metrics.loss, second.metrics.loss])
            gradients.append(torch.cat([part.flatten() for part in first.gradient]))
        assert losses[1] == pytest.approx(losses[0], rel=0.1, abs=0.05)
        assert torch.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.95


class TestLearning:
    @every_method
    @pytest.mark.parametrize("kind", ["sd", "sd-v", "sdxl", "sd3", "flux-dev"])
    def test_one_step_lowers_the_loss_on_a_fixed_batch(
        self, kind: str, name: str, folder_of: Callable[[str], Path]
    ) -> None:
        """The same update of the same world before and after, whose pictures are the base's both times and whose β is given,
        so that nothing but θ differs. DDPO's is its second share, which is remembered: its loss is −A π_θ/π_old, so that
        falling is the direction of the policy gradient."""
        family = load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="cpu", resolution=64)
        parameters = family.add_adapter(2, ["attention", "feed-forward"], seed=0)
        job = recipe(
            name, learning_rate=1e-3, **({"beta": 4.0} if "beta" in type(recipe(name).method).model_fields else {})
        )
        method, world = method_of(job, family.latent_shape), world_of(family, bright, parameters, PROMPTS[:2])
        world = replace(world, searching=family.adapter_off)
        memory, update = memory_of(job.method), 0
        if name == "ddpo":
            memory, update = method(world, memory, 0, (0, 1)).memory, 1
        before = method(world, memory, update, (0, 1))
        assert Optimiser(parameters, job.method, 1).apply(before.gradient, 0) > 0
        after = method(
            world, memory if name == "ddpo" else before.memory, update, (0, 1)
        )  # its last share is forgotten
        assert after.metrics.loss < before.metrics.loss


class TestOnlineDPO:
    def test_of_one_state_is_online_dpo_bit_for_bit(self, run: Run) -> None:
        """Judged on its last state alone, a trajectory is its picture: the page calls that by its name."""
        one, other = (
            of(Finished, list(run(recipe(name, steps=2, samples=NEVER, learning_rate=0.01, **more), reward=bright)))
            for name, more in (("sharpening-rlhf", {"trajectory_length": 1}), ("online-dpo", {}))
        )
        assert one == other


class TestImages:
    def test_a_prompts_own_pictures_are_learned_from(self, run: Run) -> None:
        """And nothing is drawn where there are enough of them."""
        draw = np.random.default_rng(0)
        own = {prompt: draw.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8) for prompt in PROMPTS}
        job = recipe("sharpening-sft", steps=2, samples=NEVER)
        events = list(run(job, reward=bright, images=lambda prompt, *_: own[prompt]))
        first, _ = of(Stepped, events)
        assert first.training_nfe == COSTS["sharpening-sft"][1][0]
        without = of(Stepped, list(run(job, reward=bright)))
        assert first.loss != without[0].loss


class TestGuidanceThatIsAnInput:
    @every_method
    def test_is_the_same_in_rollouts_and_losses(self, name: str, folder_of: Callable[[str], Path]) -> None:
        """FLUX.1-dev reads it. The paper's estimator alone has none to give: it stands for the model's own habit there."""
        family = load("flux", folder_of("flux-dev"), device="cpu", resolution=64)
        fed: set[float] = set()
        family.denoiser.register_forward_pre_hook(  # type: ignore[attr-defined]
            lambda module, inputs, words: fed.update(words["guidance"].tolist()), with_kwargs=True
        )
        parameters = family.add_adapter(2, ["attention"], seed=0)
        job = recipe(name)
        method = method_of(job, family.latent_shape, embeds_guidance=True)
        method(world_of(family, bright, parameters, PROMPTS[:2]), memory_of(job.method), 0, (0, 1))
        assert fed == {family.embedded_guidance if name == "paper" else 2.0}

    def test_is_the_catalogues_wherever_none_is_asked_for(self, folder_of: Callable[[str], Path]) -> None:
        """Rollouts and losses at 1, samples, validation: all feed the embedding that inference feeds by default."""
        family = load("flux", folder_of("flux-dev"), device="cpu", resolution=64, guidance=4.0)
        fed: set[float] = set()
        family.denoiser.register_forward_pre_hook(  # type: ignore[attr-defined]
            lambda module, inputs, words: fed.update(words["guidance"].tolist()), with_kwargs=True
        )
        trials: dict[str, Any] = {"samples": {"every": 1}, "validation": {"every": 1}}
        job = recipe(steps=1, rollout_guidance=1.0, **trials)
        entry = {"name": "tiny", "family": "flux", "source": "/nowhere", "resolution": 64, "num_inference_steps": 2}
        whole = {**job.model_dump(), "base": {**entry, "guidance_scale": 4.0}}
        whole["lora"] = {"rank": 2, "targets": ["attention"]}
        told = list(train(family, bright, Recipe.model_validate(whole), PROMPTS))
        assert {type(event) for event in told} >= {Sampled, Validated, Stepped}
        assert fed == {4.0}
