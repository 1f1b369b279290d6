"""Trainings in this process, on the tiny base: budgets, resumes. test_main.py has the process."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.utils.checkpoint
from PIL import Image

from service.domain.errors import JobFailure
from tests.service.domain.archives import zipped
from tests.worker.child.conftest import METHOD, PROMPTS, Told, Train
from worker import pipe
from worker.attempt.pictures import unpack as unpack_pictures
from worker.child.account import Account
from worker.child.teller import ADAPTER, KOHYA
from worker.models.family import Family as Model
from worker.models.load import load
from worker.training.checkpoint import Snapshot, account_of, unpack


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
    "learning_rate": 3e-4,
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
