"""The real child as a process, on a tiny base model: what it says and writes."""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from PIL import Image

from service.domain.catalogue import BaseModelEntry
from service.domain.recipes import Recipe
from tests.worker.child.conftest import METHOD
from worker import pipe
from worker.attempt.process import CHILD, Process, bare_environment

PROMPTS = ["a red dot", "a blue dot"]


@dataclass
class Run:
    """A child that was started; `to_the_end` hears it out."""

    process: Process
    folder: Path
    said: list[pipe.Message] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    def until(self, wanted: Callable[[pipe.Message], bool]) -> pipe.Message:
        for message in self.process.messages():
            self.said.append(message)
            if wanted(message):
                return message
        raise AssertionError(f"the child ended without it: {list(self.process.output())[-5:]}")

    def to_the_end(self) -> pipe.Message:
        self.said.extend(self.process.messages())
        self.output = list(self.process.output())
        assert self.process.wait(10) == 0, self.output
        return self.said[-1]

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        self.process.close()

    def reports(self, kind: str) -> list[pipe.Report]:
        return [message for message in self.said if isinstance(message, pipe.Report) and message.type == kind]

    def files(self, kind: str) -> list[pipe.FileMade]:
        return [message for message in self.said if isinstance(message, pipe.FileMade) and message.kind == kind]


def begin(folder: Path, base: Path, checkpoint: Path | None = None, **change: Any) -> Run:
    fields: dict[str, Any] = {"base_model": "b", "prompts": PROMPTS, "reward": {"type": "jpeg-compressibility"}}
    fields |= {"method": METHOD, "steps": 3, "checkpoint_every": 2, "samples": {"every": 3, "num_inference_steps": 2}}
    entry = BaseModelEntry(name="b", source=str(base), family="sd", resolution=64)
    recipe = Recipe(**(fields | change), base=entry, prompts_sha256="", prompt_count=2)
    (folder / "prompts.txt").write_text("".join(prompt + "\n" for prompt in PROMPTS))
    process = Process(CHILD, environment=bare_environment(folder, 1), folder=folder)
    process.send(
        pipe.Begin(
            recipe=recipe.model_dump(mode="json"),
            prompts_path=str(folder / "prompts.txt"),
            base_path=str(base),
            reward_model_path=None,
            checkpoint_path=str(checkpoint) if checkpoint else None,
            scratch=str(folder),
            device="cpu",
            threads=1,
            lease_seconds=60.0,
        )
    )
    return Run(process, folder)


@pytest.fixture
def start(tmp_path: Path, sd_folder: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*, base: Path = sd_folder, **change: Any) -> Run:
        runs.append(begin(tmp_path, base, **change))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, sd_folder: Path) -> Iterator[Run]:
    """A job from its beginning to its natural end."""
    run = begin(tmp_path_factory.mktemp("whole"), sd_folder)
    run.to_the_end()
    yield run
    run.close()


def is_step(number: int) -> Callable[[pipe.Message], bool]:
    return lambda said: isinstance(said, pipe.Report) and said.type == "job.step" and said.step == number


class TestWholeRun:
    def test_says_all_that_a_job_s_reader_needs_in_order(self, whole: Run) -> None:
        assert whole.said[0] == pipe.Ready("cpu", None)
        assert [report.step for report in whole.reports("job.step")] == [1, 2, 3]
        last = whole.reports("job.step")[-1].data
        assert {"reward", "loss", "training_nfe", "training_fe", "seconds", "seconds_left"} <= last.keys()
        assert last["reward"].keys() == {"mean", "best", "worst"}
        assert last["seconds_left"] == 0
        end = whole.said[-1]
        assert isinstance(end, pipe.Finished)
        assert (end.step, end.stopped, end.training_nfe) == (3, None, last["training_nfe"])
        assert end.training_nfe > 0

    def test_writes_whole_files_whose_digests_hold(self, whole: Run) -> None:
        made = [message for message in whole.said if isinstance(message, pipe.FileMade)]
        assert {(file.name, file.kind) for file in made} >= {
            ("checkpoint-2.safetensors", "checkpoint"),
            ("pytorch_lora_weights.safetensors", "adapter"),
            ("sample-3-0.png", "sample"),
        }
        for file in made:
            assert hashlib.sha256((whole.folder / file.name).read_bytes()).hexdigest() == file.sha256

    def test_draws_a_picture_for_each_prompt_and_names_them(self, whole: Run) -> None:
        (first, last) = whole.reports("job.samples")
        assert (first.step, last.step) == (0, 3)
        assert last.data["names"] == ["sample-3-0.png", "sample-3-1.png"]
        assert last.data["prompts"] == PROMPTS
        with Image.open(io.BytesIO((whole.folder / "sample-3-0.png").read_bytes())) as picture:
            assert picture.size == (64, 64)


class TestStop:
    def test_of_a_cancel_is_obeyed_at_a_step_boundary_without_a_file(self, start: Callable[..., Run]) -> None:
        run = start(steps=1000, checkpoint_every=1000)
        run.until(is_step(1))
        run.process.send(pipe.Stop("cancel", checkpoint=False))
        end = run.to_the_end()
        assert isinstance(end, pipe.Finished)
        assert end.stopped == "cancel"
        assert run.files("checkpoint") == run.files("adapter") == []

    def test_of_a_pause_leaves_a_checkpoint_from_which_the_same_adapter_comes(
        self, start: Callable[..., Run], tmp_path: Path
    ) -> None:
        straight = start(steps=12, samples={"every": 0})
        straight.to_the_end()
        paused = start(steps=12, checkpoint_every=1000, samples={"every": 0})
        paused.until(is_step(1))
        paused.process.send(pipe.Stop("pause", checkpoint=True))
        end = paused.to_the_end()
        assert isinstance(end, pipe.Finished)
        assert (end.stopped, end.step < 12) == ("pause", True)
        (checkpoint,) = paused.files("checkpoint")
        assert checkpoint.step == end.step

        resumed = start(steps=12, samples={"every": 0}, checkpoint=tmp_path / checkpoint.name)
        resumed.to_the_end()
        assert resumed.said[0] == pipe.Ready("cpu", end.step)
        assert resumed.reports("job.step")[0].step == end.step + 1
        assert resumed.files("adapter")[0].sha256 == straight.files("adapter")[0].sha256

    def test_before_the_first_step_leaves_nothing(self, start: Callable[..., Run]) -> None:
        run = start()
        run.process.send(pipe.Stop("hand_back", checkpoint=True))
        assert run.to_the_end() == pipe.Finished(0, "hand_back", 0, 0.0)


class TestFailure:
    def test_to_load_the_base_is_told_with_a_code(self, start: Callable[..., Run], tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        end = start(base=tmp_path / "empty").to_the_end()
        assert isinstance(end, pipe.Failed)
        assert end.code == "base_unloadable"

    def test_of_a_checkpoint_is_told_with_a_code(self, start: Callable[..., Run], tmp_path: Path) -> None:
        safetensors.torch.save_file({}, tmp_path / "other.safetensors")
        end = start(checkpoint=tmp_path / "other.safetensors").to_the_end()
        assert isinstance(end, pipe.Failed)
        assert end.code == "checkpoint_damaged"
