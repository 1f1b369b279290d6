"""Trainings and replays in this process, on the tiny base: budgets, resumes, certificates. test_main.py has the process."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.utils.checkpoint
from PIL import Image

from service.domain.catalogue import BaseModelEntry, Family
from service.domain.errors import JobFailure
from service.domain.recipes import Recipe, Replay
from tests.service.domain.archives import zipped
from worker import pipe
from worker.attempt.pictures import unpack as unpack_pictures
from worker.child.account import Account
from worker.child.run import run
from worker.child.teller import ADAPTER, KOHYA, Teller
from worker.models.family import Family as Model
from worker.models.load import load
from worker.training.checkpoint import Snapshot, account_of, unpack

PROMPTS = ["a red dot", "a blue dot", "no"]
METHOD = {
    "type": "sharpening-rlhf",
    "candidates": 2,
    "rollout_steps": 2,
    "prompts_per_step": 2,
    "timesteps_per_pair": 1,
}


@dataclass
class Told:
    """What a training said, and the folder that it wrote to."""

    folder: Path
    said: list[pipe.Message] = field(default_factory=list)

    @property
    def end(self) -> pipe.Finished:
        assert isinstance(self.said[-1], pipe.Finished)
        return self.said[-1]

    def files(self, kind: str) -> dict[int, pipe.FileMade]:
        return {said.step: said for said in self.said if isinstance(said, pipe.FileMade) and said.kind == kind}

    def steps(self) -> list[int]:
        return [said.step for said in self.said if isinstance(said, pipe.Report) and said.type == "job.step"]

    def nfe(self, step: int) -> int:
        """Spent up to and with this step."""
        reports = {said.step: said for said in self.said if isinstance(said, pipe.Report) and said.type == "job.step"}
        return int(reports[step].data["training_nfe"])

    def data(self, step: int) -> bytes:
        return (self.folder / self.files("checkpoint")[step].name).read_bytes()


Train = Callable[..., Told]


@pytest.fixture
def train(tmp_path: Path, sd_folder: Path) -> Train:
    """Run a recipe to its end; `checkpoint`, `goal` and `start` are bytes, `images` is an index."""

    def train(
        *,
        checkpoint: bytes | None = None,
        goal: bytes | None = None,
        start: bytes | None = None,
        images: Path | None = None,
        base: Path = sd_folder,
        family: Family = "sd",
        device: str = "cpu",
        **change: Any,
    ) -> Told:
        folder = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        folder.mkdir()
        given = {"prompts.txt": "".join(prompt + "\n" for prompt in PROMPTS).encode()}
        given |= {"from": checkpoint, "goal": goal, "start": start}
        paths = {name: folder / name for name, data in given.items() if data is not None}
        for name, path in paths.items():
            path.write_bytes(given[name] or b"")
        fields: dict[str, Any] = {"base_model": "b", "prompts": PROMPTS, "reward": {"type": "jpeg-compressibility"}}
        fields |= {"method": METHOD, "steps": 6, "checkpoint_every": 2, "samples": {"every": 0}, "lora": {"rank": 2}}
        entry = BaseModelEntry(name="b", source=str(sd_folder), family=family, resolution=64)
        recipe = Recipe(**(fields | change), base=entry, prompts_sha256="", prompt_count=len(PROMPTS))
        begin = pipe.Begin(
            recipe=recipe.model_dump(mode="json"),
            prompts_path=str(paths["prompts.txt"]),
            base_path=str(base),
            reward_model_path=None,
            checkpoint_path=str(paths["from"]) if checkpoint else None,
            scratch=str(folder),
            device=device,
            threads=1,
            lease_seconds=60.0,
            goal_path=str(paths["goal"]) if goal else None,
            images_path=str(images) if images else None,
            start_path=str(paths["start"]) if start else None,
        )
        told = Told(folder)
        run(begin, told.said.append, lambda: None)
        return told

    return train


def replay(train: Train, start: bytes, goal: bytes, **change: Any) -> Told:
    """The certificate of a job whose checkpoints are `start` and `goal`."""
    wanted = Replay(
        checkpoint_step=unpack(start)[0].step,
        checkpoint_fence=1,
        to_step=unpack(goal)[0].step,
        expected_sha256=hashlib.sha256(goal).hexdigest(),
    )
    return train(checkpoint=start, goal=goal, replay=wanted, parent_id="job_" + "0" * 26, **change)


LOWEST, HALF = 1, 1 << 22
"""Bits of a float32: the last of its fraction, and the first, which is worth half of the number's power of two."""


def planted(data: bytes, bit: int) -> bytes:
    """The same checkpoint but for one bit of the adapter's largest number: whole in itself, and wrong."""
    progress, tensors = unpack(data)
    adapter = [tensor.view(-1) for name, tensor in tensors.items() if name.startswith("adapter/")]
    numbers = max(adapter, key=lambda tensor: float(tensor.abs().max()))
    numbers.view(torch.int32)[numbers.abs().argmax()] ^= bit
    return Snapshot.of(progress, tensors).pack(account_of(data))


def made_on(device: str, data: bytes) -> bytes:
    """The same state, with an account of another device."""
    account = account_of(data)
    progress, tensors = unpack(data)
    return Snapshot.of(progress, tensors).pack(account | {"hardware": account["hardware"] | {"device": device}})


def test_text_encoders_are_parked_only_where_the_device_has_a_memory_of_its_own(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked: list[bool] = []

    def watched(*given: Any, **named: Any) -> Model:
        parked.append(named["parks_text"])
        return load(*given, **named)

    monkeypatch.setattr("worker.child.run.load", watched)
    train(steps=1)
    assert parked == [False]


class TestAReplay:
    def test_from_one_checkpoint_meets_the_digest_of_the_next_and_leaves_no_file(self, train: Train) -> None:
        job = train()
        told = replay(train, job.data(2), job.data(4))
        assert told.end.found_sha256 == job.files("checkpoint")[4].sha256
        assert [said for said in told.said if isinstance(said, pipe.FileMade)] == []
        assert told.steps() == [3, 4]
        assert told.end.training_nfe == job.nfe(4) - job.nfe(2), "its own cost: steps 3 and 4"

    @pytest.mark.parametrize(
        "change",
        [
            {"checkpoint_every": 1},
            {"samples": {"every": 1, "num_inference_steps": 2}},
            {"max_seconds": 1e-3},
            {"max_nfe": 1},
            {"validation": {"every": 3, "num_inference_steps": 2}},
        ],
        ids=["checkpoint_every", "samples", "max_seconds", "max_nfe", "validation"],
    )
    def test_is_not_disturbed_by_what_else_its_recipe_says(self, train: Train, change: dict[str, Any]) -> None:
        whole = {name: value for name, value in change.items() if name == "validation"}
        job = train(**whole)
        assert replay(train, job.data(2), job.data(4), **change).end.found_sha256 == job.files("checkpoint")[4].sha256

    @pytest.mark.parametrize(
        "ends", [{}, {"max_nfe": 40}, {"max_seconds": 3.0}], ids=["completed", "max_nfe", "max_seconds"]
    )
    def test_meets_the_last_checkpoint_however_the_job_ended(
        self, train: Train, monkeypatch: pytest.MonkeyPatch, ends: dict[str, Any]
    ) -> None:
        """A last step is validated whatever its number; a replay must know that it is the last."""
        monkeypatch.setattr(Teller, "seconds", property(lambda teller: float(teller._step)))  # a second a step
        validated = {"validation": {"every": 100, "num_inference_steps": 2}}
        job = train(**validated, **ends, checkpoint_every=1, steps=5)
        last = max(job.files("checkpoint"))
        assert (job.end.reason == "completed") == (last == 5) == (ends == {})
        told = replay(train, job.data(last - 1), job.data(last), **validated, steps=5)
        assert told.end.found_sha256 == job.files("checkpoint")[last].sha256

    @pytest.mark.parametrize("where", ["start", "goal"])
    def test_notices_one_planted_bit_on_either_side(self, train: Train, where: str) -> None:
        job = train()
        start, goal = job.data(2), job.data(4)
        if where == "start":
            start = planted(
                start, HALF
            )  # two updates may round the lowest bit away, and then rightly nothing is noticed
        else:
            goal = planted(goal, LOWEST)
        assert replay(train, start, goal).end.found_sha256 != hashlib.sha256(goal).hexdigest()

    def test_compares_states_not_clocks(self, train: Train) -> None:
        """The job took its time on another machine, as its account says: the bits are what is claimed."""
        job = train()
        progress, tensors = unpack(job.data(4))
        account = account_of(job.data(4)) | {"seconds": 1e6, "hardware": None}
        goal = Snapshot.of(progress, tensors).pack(account)
        assert replay(train, job.data(2), goal).end.found_sha256 == hashlib.sha256(goal).hexdigest()

    def test_runs_on_the_cpu_whatever_the_worker_trains_on(self, train: Train) -> None:
        job = train()
        told = replay(train, job.data(2), job.data(4), device="cuda")
        assert told.end.found_sha256 == job.files("checkpoint")[4].sha256
        assert pipe.Ready("cpu", 2) in told.said

    @pytest.mark.parametrize("which", ["start", "goal"])
    def test_of_what_a_gpu_made_is_refused_with_the_reason(self, train: Train, which: str) -> None:
        job = train()
        start, goal = (made_on("cuda: NVIDIA H100", job.data(step)) if name == which else job.data(step)
                       for name, step in (("start", 2), ("goal", 4)))  # fmt: skip
        with pytest.raises(JobFailure, match=r"made on cuda: NVIDIA H100.* the same kind of CPU only") as failure:
            replay(train, start, goal)
        assert failure.value.code == "not_trained_on_cpu"

    def test_on_another_cpu_says_that_this_may_be_why(self, train: Train) -> None:
        job = train()
        same, other = (
            [said.data["lines"] for said in told.said if isinstance(said, pipe.Report) and said.type == "job.log"]
            for told in (
                replay(train, job.data(2), goal) for goal in (job.data(4), made_on("cpu: another", job.data(4)))
            )
        )
        assert same == []
        assert "than the job's (cpu: another" in other[0][0]

    def test_whose_goal_lies_beyond_the_end_says_so(self, train: Train) -> None:
        job = train()
        with pytest.raises(JobFailure) as failure:
            replay(train, job.data(2), job.data(6), steps=4)
        assert failure.value.code == "replay_too_short"

    def test_without_its_checkpoint_is_refused(self, train: Train) -> None:
        wanted = Replay(checkpoint_step=2, checkpoint_fence=1, to_step=4, expected_sha256="0" * 64)
        with pytest.raises(JobFailure) as failure:
            train(replay=wanted)
        assert failure.value.code == "no_replay"


class TestABudget:
    def test_of_nfe_ends_the_job_at_the_step_that_reaches_it_with_its_adapter(self, train: Train) -> None:
        told = train(max_nfe=train().nfe(2) + 1)
        assert (told.end.step, told.end.reason, told.end.stopped) == (3, "max_nfe", None)
        assert set(told.files("checkpoint")) == {2, 3}
        assert list(told.files("adapter")) == [3]

    def test_of_seconds_ends_the_job_after_a_step_with_its_adapter(self, train: Train) -> None:
        told = train(max_seconds=1e-3)
        assert told.end.reason == "max_seconds"
        assert told.steps() == [1]
        assert list(told.files("adapter")) == [told.end.step]

    def test_of_seconds_counts_those_of_earlier_attempts(self, train: Train) -> None:
        first = train(steps=6)
        progress, tensors = unpack(first.data(2))
        for seconds, reason in ((0.0, "completed"), (3600.0, "max_seconds")):
            account = account_of(first.data(2)) | {"seconds": seconds}
            told = train(checkpoint=Snapshot.of(progress, tensors).pack(account), max_seconds=3600.0)
            assert told.end.reason == reason
            assert told.steps() == ([3, 4, 5, 6] if reason == "completed" else [])

    def test_is_no_budget_of_the_natural_end(self, train: Train) -> None:
        assert train(steps=1).end.reason == "completed"

    def test_spent_seconds_grow_from_checkpoint_to_checkpoint(self, train: Train) -> None:
        told = train()
        spent = [Account.read(account_of(told.data(step))).seconds for step in (2, 4, 6)]
        assert 0 < spent[0] < spent[1] < spent[2]


SFT = {
    "type": "sharpening-sft",
    "candidates": 2,
    "rollout_steps": 3,
    "prompts_per_step": 3,
    "trajectory_length": 1,
    "walk_steps": 8,
}

ROLLED_OUT = 3 * 2 * 3
WALKED_AND_LEARNED = 3 * 2 + 3 * 2
"""NFE of a step: 3 prompts × 2 candidates × 3 steps; the walks, and the best one's state by policy and reference, unless tied."""


def index_of(folder: Path, per_prompt: int, prompts: Sequence[str] = PROMPTS) -> Path:
    """Pictures as the parent unpacks them."""
    entries: dict[str, bytes] = {}
    for number, prompt in enumerate(list(prompts) * per_prompt):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 64, 3), dtype=np.uint8)
        made = io.BytesIO()
        Image.fromarray(pixels).save(made, "PNG")
        entries |= {f"{number}.png": made.getvalue(), f"{number}.txt": prompt.encode()}
    archive = folder / "images.zip"
    archive.write_bytes(zipped(entries))
    return unpack_pictures(archive, folder / "pictures")[0]


class TestOwnPictures:
    def test_are_what_is_walked_from_and_the_base_draws_only_what_is_missing(
        self, train: Train, tmp_path: Path
    ) -> None:
        drawn = train(method=SFT, steps=1)
        whole = train(method=SFT, steps=1, images=index_of(tmp_path, 2))
        assert whole.end.training_nfe <= WALKED_AND_LEARNED < ROLLED_OUT < drawn.end.training_nfe
        assert drawn.files("adapter")[1].sha256 != whole.files("adapter")[1].sha256

    def test_of_one_prompt_alone_leave_the_others_to_the_base(self, train: Train, tmp_path: Path) -> None:
        told = train(method=SFT, steps=1, images=index_of(tmp_path, 1, PROMPTS[:1]))
        assert told.steps() == [1]

    def test_for_noisings_are_one_a_prompt_and_nothing_is_drawn(self, train: Train, tmp_path: Path) -> None:
        noisings = {**SFT, "selection_among": "noisings"}
        told = train(method=noisings, steps=1, images=index_of(tmp_path, 3))
        assert told.end.training_nfe <= WALKED_AND_LEARNED

    def test_resumed_are_the_same_ones(self, train: Train, tmp_path: Path) -> None:
        """Three of each, groups of two: which two is a function of the update."""
        own = index_of(tmp_path, 3)
        job = train(method=SFT, images=own)
        rest = train(method=SFT, images=own, checkpoint=job.data(2))
        assert rest.files("adapter")[6].sha256 == job.files("adapter")[6].sha256

    def test_that_cannot_be_decoded_end_the_job_before_the_base_is_loaded(self, train: Train, tmp_path: Path) -> None:
        own = index_of(tmp_path, 1)
        damaged = own.with_name("1")
        damaged.write_bytes(damaged.read_bytes()[:-1000])
        with pytest.raises(JobFailure, match=r"1\.png") as failure:
            train(method=SFT, images=own, base=tmp_path / "there is no base")
        assert failure.value.code == "image_unreadable"


class TestABase:
    def test_of_another_family_is_told_before_any_weight_is_read(self, train: Train, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
        with pytest.raises(JobFailure, match='write family = "sdxl" in the catalogue') as failure:
            train(base=tmp_path)
        assert failure.value.code == "family_mismatch"


class TestAStartAdapter:
    TINY: ClassVar = {**METHOD, "learning_rate": 1e-9}

    def adapter(self, told: Told) -> bytes:
        (made,) = told.files("adapter").values()
        return (told.folder / made.name).read_bytes()

    def test_is_where_the_training_begins(self, train: Train) -> None:
        start = self.adapter(train(method={**METHOD, "learning_rate": 1e-2}, steps=2))
        begun, fresh = (
            safetensors.torch.load(self.adapter(train(method=self.TINY, steps=1, start=given)))
            for given in (start, None)
        )
        for name, value in safetensors.torch.load(start).items():
            torch.testing.assert_close(begun[name], value, rtol=0, atol=1e-7)
        assert any((begun[name] - value).abs().max() > 1e-3 for name, value in fresh.items())

    def test_of_another_layout_is_told_with_the_remedy(self, train: Train) -> None:
        start = self.adapter(train(steps=1))
        with pytest.raises(JobFailure, match=r"the same lora\.rank") as failure:
            train(steps=1, start=start, lora={"rank": 3})
        assert failure.value.code == "start_adapter"


class TestGradientCheckpointing:
    @pytest.fixture
    def anew(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """The blocks that were given to torch to compute them again."""
        given_back, compute_anew = list[Any](), torch.utils.checkpoint.checkpoint

        def counted(*given: Any, **words: Any) -> Any:
            given_back.append(given)
            return compute_anew(*given, **words)

        monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", counted)
        return given_back

    def test_is_on_for_a_base_whose_activations_are_large(
        self, train: Train, anew: list[Any], folder_of: Callable[[str], Path]
    ) -> None:
        train(steps=1, family="sd3", base=folder_of("sd3"), lora={"rank": 2, "targets": ["attention"]})
        assert anew

    def test_is_on_where_the_recipe_says_so_and_changes_the_adapter_by_rounding_at_most(
        self, train: Train, anew: list[Any]
    ) -> None:
        plain = train(steps=2)
        assert not anew
        checkpointed = train(steps=2, gradient_checkpointing=True)
        assert anew
        one, other = (safetensors.torch.load((told.folder / ADAPTER).read_bytes()) for told in (plain, checkpointed))
        torch.testing.assert_close(other, one)


class TestTheKohyaFile:
    def test_holds_the_delivered_adapter_under_other_names(self, train: Train) -> None:
        told = train(steps=1)
        assert [said.name for said in told.files("export").values()] == [KOHYA]
        ours, theirs = (safetensors.torch.load((told.folder / name).read_bytes()) for name in (ADAPTER, KOHYA))
        values = {name: value for name, value in theirs.items() if not name.endswith(".alpha")}
        assert sorted(value.sum().item() for value in values.values()) == sorted(
            value.sum().item() for value in ours.values()
        )
        assert {value.item() for name, value in theirs.items() if name.endswith(".alpha")} == {2}


class TestSignsOfLife:
    """A validation is one event; of 512 pictures on a large model it takes longer than the parent waits for a word."""

    VALIDATION: ClassVar[dict[str, Any]] = {
        "every": 3, "prompts": [f"a dot, number {number}" for number in range(12)], "num_inference_steps": 4,
    }  # fmt: skip

    def test_come_with_every_call_of_a_validation_and_change_nothing(
        self, train: Train, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = {"method": METHOD | {"micro_batch": 1}, "validation": self.VALIDATION, "steps": 3}
        quiet = train(**job)
        assert pipe.Still() not in quiet.said, "it was over in no time"
        monkeypatch.setattr("worker.child.breath.SECONDS", 0.0)
        told = train(**job)
        first = next(place for place, said in enumerate(told.said) if is_validation(said))
        silent = [said for said in told.said[first - 48 : first] if said != pipe.Still()]
        assert silent == [], "12 pictures, 4 calls each"
        assert told.nfe(3) == quiet.nfe(3)
        digests = [{step: made.sha256 for step, made in each.files("adapter").items()} for each in (told, quiet)]
        assert digests[0] == digests[1]


def is_validation(said: pipe.Message) -> bool:
    return isinstance(said, pipe.Report) and said.type == "job.validation"
