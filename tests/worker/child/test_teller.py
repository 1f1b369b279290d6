"""The order in which a training is told, with events made by hand: what waits for what, whatever the disk does."""

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from service.domain.errors import JobFailure
from tests.eventually import eventually
from worker import pipe
from worker.child.account import Account, Hardware
from worker.child.files import write_whole
from worker.child.teller import Teller
from worker.models.counter import Counts
from worker.training.checkpoint import Progress, Snapshot, account_of
from worker.training.events import Checkpointed, Event, Finished, Resumed, Stepped, Validated

HERE, THERE = Hardware("cpu: here", 1, "2.13.0"), Hardware("cpu: there", 8, "2.13.0")


def stepped(step: int, reward: float | None = 0.5) -> Stepped:
    return Stepped(step, reward, reward, reward, 0, 0.7, 0.0, 0.5, 1.0, 0.1, 1e-3, 10 * step, 12 * step, 4, 4, 1.0)


def checkpointed(step: int) -> Checkpointed:
    return Checkpointed(step, Snapshot.of(Progress(step, Counts(), 1.5), {"adapter/a": torch.ones(2) * step}))


def finished(step: int, reason: Any = "completed") -> Finished:
    return Finished(step, step, reason, b"adapter", None, "", 10 * step, 12 * step, 4, 4)


@dataclass
class Stage:
    """A scratch folder, a disk that may be held up, a clock that the test turns, and all that was told."""

    scratch: Path
    said: list[pipe.Message] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    stop: pipe.Stop | None = None
    now: float = 0.0
    disk: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.disk.set()

    def say(self, message: pipe.Message) -> None:
        self.said.append(message)
        if isinstance(message, pipe.Report):
            self.order.append(f"told {message.type} {message.step}")

    def write(self, folder: Path, name: str, kind: str, step: int, data: bytes) -> pipe.FileMade:
        assert self.disk.wait(10)
        made = write_whole(folder, name, kind, step, data)
        self.order.append(f"written {name}")
        return made

    def teller(self, account: Account | None = None, max_seconds: float | None = None) -> Teller:
        return Teller(
            self.scratch, self.say, lambda: self.stop,
            steps=9, max_seconds=max_seconds, max_nfe=None, device="cpu", hardware=HERE, account=account or Account(),
            clock=lambda: self.now, write=self.write,
        )  # fmt: skip

    def files(self) -> list[pipe.FileMade]:
        return [message for message in self.said if isinstance(message, pipe.FileMade)]

    def reports(self, kind: str) -> list[pipe.Report]:
        return [message for message in self.said if isinstance(message, pipe.Report) and message.type == kind]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


class TestWantsCheckpoint:
    def test_where_the_last_is_five_minutes_old(self, stage: Stage) -> None:
        """Steps of 100 s: every third is saved, and one that is saved for another reason puts the next off."""
        teller, asked = stage.teller(), []

        def events() -> Iterator[Event]:
            for step in range(1, 10):
                stage.now += 100
                yield stepped(step)
                asked.append(teller.wants_checkpoint())
                if asked[-1] or step == 4:
                    yield checkpointed(step)
            yield finished(9)

        teller.tell(events())
        assert [step for step, wanted in enumerate(asked, 1) if wanted] == [3, 7]
        assert [report.step for report in stage.reports("job.checkpoint")] == [3, 4, 7]

    def test_where_a_stop_asks_for_one(self, stage: Stage) -> None:
        teller = stage.teller()
        for stop, wanted in ((None, False), (pipe.Stop("cancel", False), False), (pipe.Stop("hand_back", True), True)):
            stage.stop = stop
            assert teller.wants_checkpoint() == wanted


class TestACheckpoint:
    def test_is_written_beside_the_next_steps(self, stage: Stage) -> None:
        """Held up by the disk, it holds up no step: steps 2 and 3 are told before its file is there."""
        stage.disk.clear()

        def events() -> Iterator[Event]:
            yield stepped(1)
            yield checkpointed(1)
            yield stepped(2)
            yield stepped(3)
            stage.disk.set()
            yield finished(3)

        stage.teller().tell(events())
        assert stage.order == [
            "told job.step 1",
            "told job.step 2",
            "told job.step 3",
            "written checkpoint-1.safetensors",
            "told job.checkpoint 1",
            "written pytorch_lora_weights.safetensors",
        ]

    def test_is_kept_where_the_next_step_s_loss_is_no_number(self, stage: Stage) -> None:
        """The failure waits for the file that is still being written: it is the last good one."""
        stage.disk.clear()

        def events() -> Iterator[Event]:
            yield stepped(1)
            yield checkpointed(1)
            threading.Timer(0.2, stage.disk.set).start()
            raise JobFailure("the loss is not a number any more at step 2", code="nan_loss")

        with pytest.raises(JobFailure, match="at step 2"):
            stage.teller().tell(events())
        assert stage.order == ["told job.step 1", "written checkpoint-1.safetensors", "told job.checkpoint 1"]

    def test_waits_where_the_disk_is_slower_than_training(self, stage: Stage) -> None:
        """One is being written and one waits; the third holds training until the first is there."""
        stage.disk.clear()

        def events() -> Iterator[Event]:
            for step in (1, 2, 3):
                yield checkpointed(step)
                stage.order.append(f"training goes on from {step}")
            yield finished(3)

        telling = threading.Thread(target=stage.teller().tell, args=(events(),))
        telling.start()
        eventually(lambda: "training goes on from 2" in stage.order)
        stage.disk.set()
        telling.join(10)
        first = stage.order.index("written checkpoint-1.safetensors")
        assert stage.order.index("training goes on from 2") < first < stage.order.index("training goes on from 3")

    def test_is_told_with_the_digest_of_its_file_once_that_is_whole(self, stage: Stage) -> None:
        stage.teller().tell(iter([stepped(1), checkpointed(1), finished(1)]))
        (report,) = stage.reports("job.checkpoint")
        data = (stage.scratch / "checkpoint-1.safetensors").read_bytes()
        assert report.data["sha256"] == stage.files()[0].sha256 == hashlib.sha256(data).hexdigest()
        assert report.data["state_sha256"] == checkpointed(1).snapshot.sha256
        assert stage.said.index(stage.files()[0]) < stage.said.index(report)

    def test_that_the_disk_will_not_take_ends_the_training_with_the_reason(self, stage: Stage) -> None:
        def full(*_: object) -> pipe.FileMade:
            raise OSError(28, "No space left on device")

        stage.write = full  # type: ignore[method-assign, assignment]

        def events() -> Iterator[Event]:
            yield checkpointed(1)
            began = time.monotonic()
            while time.monotonic() < began + 10:  # training goes on until it is told
                yield stepped(2)

        with pytest.raises(OSError, match="No space left"):
            stage.teller().tell(events())

    def test_says_on_what_and_for_how_long_over_all_attempts(self, stage: Stage) -> None:
        teller = stage.teller(Account(seconds=100.0, hardware=HERE))

        def events() -> Iterator[Event]:
            stage.now = 2.5
            yield checkpointed(1)
            yield finished(1)

        teller.tell(events())
        kept = Account.read(account_of((stage.scratch / "checkpoint-1.safetensors").read_bytes()))
        assert (kept.seconds, kept.hardware) == (102.5, HERE)

    def test_names_the_best_so_far_by_validation_where_there_is_one(self, stage: Stage) -> None:
        events: list[Event] = [
            stepped(1, 0.9), Validated(1, 0.4, 4), checkpointed(1),
            stepped(2, 0.1), Validated(2, 0.6, 4), checkpointed(2),
            stepped(3, 0.9), Validated(3, 0.5, 4), checkpointed(3), finished(3),
        ]  # fmt: skip
        stage.teller().tell(iter(events))
        told = [(report.data["score"], report.data["best_step"]) for report in stage.reports("job.checkpoint")]
        assert told == [(0.4, 1), (0.6, 2), (0.5, 2)]


class TestAStop:
    @pytest.mark.parametrize("reason", ["pause", "hand_back"])
    def test_that_wants_a_checkpoint_says_so_and_waits_until_it_is_written(self, stage: Stage, reason: Any) -> None:
        stage.stop = pipe.Stop(reason, checkpoint=True)
        stage.disk.clear()

        def say(message: pipe.Message) -> None:
            stage.said.append(message)
            if isinstance(message, pipe.Saving):
                stage.disk.set()

        stage.say = say  # type: ignore[method-assign]
        stage.teller().tell(iter([stepped(1), checkpointed(1), stepped(2)]))
        words = [type(message).__name__ for message in stage.said]
        assert words == ["Report", "Saving", "FileMade", "Report", "Finished"]
        assert stage.said[-1] == pipe.Finished(1, reason, 10, 12.0)

    def test_by_a_cancel_leaves_what_is_being_written_and_says_nothing_after_its_last_word(self, stage: Stage) -> None:
        stage.disk.clear()

        def events() -> Iterator[Event]:
            yield checkpointed(1)
            stage.stop = pipe.Stop("cancel", checkpoint=False)
            yield stepped(2)

        stage.teller().tell(events())
        assert stage.said[-1] == pipe.Finished(2, "cancel", 20, 24.0)
        stage.disk.set()
        eventually(lambda: "written checkpoint-1.safetensors" in stage.order)
        assert stage.files() == []


class TestABudget:
    def test_of_seconds_is_spent_over_all_attempts(self, stage: Stage) -> None:
        teller = stage.teller(Account(seconds=50.0), max_seconds=60.0)
        assert not teller.is_out_of_time()
        stage.now = 9.0
        assert not teller.is_out_of_time()
        stage.now = 10.0
        assert teller.is_out_of_time()

    def test_that_is_spent_is_the_reason_of_the_end(self, stage: Stage) -> None:
        stage.teller().tell(iter([stepped(1), finished(1, "max_nfe")]))
        assert stage.said[-1] == pipe.Finished(1, None, 10, 12.0, reason="max_nfe")

    def test_bounds_what_is_said_to_be_left(self, stage: Stage) -> None:
        teller = stage.teller(max_seconds=4.0)

        def events() -> Iterator[Event]:
            stage.now = 3.0
            yield stepped(1)
            yield finished(1)

        teller.tell(events())
        said = stage.reports("job.step")[0].data
        assert (said["seconds_left"], said["training_seconds"]) == (1.0, 3.0)


class TestAResume:
    def test_on_other_hardware_is_told(self, stage: Stage) -> None:
        stage.teller(Account(hardware=THERE)).tell(iter([Resumed(3), finished(3)]))
        assert stage.said[0] == pipe.Ready("cpu", 3)
        (warning,) = stage.reports("job.log")
        assert "resumed on other hardware (cpu: here, 1 threads, torch 2.13.0; before: cpu: there, 8" in str(
            warning.data
        )
        assert "not bit for bit" in str(warning.data)

    @pytest.mark.parametrize("before", [HERE, None])
    def test_on_the_same_or_unknown_hardware_is_not_remarked_on(self, stage: Stage, before: Hardware | None) -> None:
        stage.teller(Account(hardware=before)).tell(iter([Resumed(3), finished(3)]))
        assert stage.reports("job.log") == []

    def test_keeps_what_was_the_best(self, stage: Stage) -> None:
        account = Account(smoothed=0.9, best_step=2, best_score=0.9)
        stage.teller(Account.read(asdict(account))).tell(iter([stepped(3, 0.1), checkpointed(3), finished(3)]))
        assert stage.reports("job.checkpoint")[0].data["best_step"] == 2
