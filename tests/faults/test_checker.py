"""The checker against a whole history that it must pass, and against each way in which that can be wrong."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace as Row
from typing import Any

import pytest

from service.adapters.storage import FolderStore
from tests.faults.checker import Evidence, check
from tests.faults.history import History

START = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE_LIFE = (
    ("job.queued", 0), ("job.started", 1), ("job.step", 1), ("job.requeued", 1), ("job.started", 2), ("job.resumed", 2),
    ("job.step", 2), ("job.checkpoint", 2), ("job.finalizing", 2), ("job.succeeded", 2),
)  # fmt: skip


class Life:
    """A job that lost its first attempt and succeeded in the second, with its files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.store, self.folder = FolderStore(folder / "store"), folder
        self.job = Row(id="job_a", state="succeeded", fence=2, event_count=0, recipe={"metadata": {"key": "k"}})
        self.attempts = [self.attempt(1, 0, 3), self.attempt(2, 4, 9)]
        self.artifacts = [self.stored("adapter", "adapter", b"weights")]
        line = {"fence": 2, "name": "adapter", "sha256": self.artifacts[0].sha256}
        self.artifacts.append(self.stored("manifest.json", "manifest", json.dumps({"files": [line]}).encode()))
        sha256 = self.artifacts[1].sha256
        self.versions = [
            Row(job_id="job_a", name="a", version=1, file_fence=2, file_name="adapter", manifest_key=self.artifacts[1].key,
                manifest_sha256=sha256),
        ]  # fmt: skip
        self.events: list[Any] = []
        for type, fence in WHOLE_LIFE:
            self.happens(type, fence)
        self.events[-1].data = {"manifest_sha256": sha256}
        self.evidence = Evidence(accepted={"k": ["job_a"]})

    def attempt(self, fence: int, began: int, ended: int) -> Any:
        return Row(job_id="job_a", fence=fence, started_at=self.at(began), ended_at=self.at(ended))

    def at(self, seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    def stored(self, name: str, kind: str, data: bytes) -> Any:
        path = self.folder / "file"
        path.write_bytes(data)
        key = f"jobs/job_a/2/{name}"
        self.store.put_file(key, path)
        sha256 = hashlib.sha256(data).hexdigest()
        return Row(
            job_id="job_a",
            fence=2,
            name=name,
            kind=kind,
            key=key,
            bytes=len(data),
            sha256=sha256,
            created_at=self.at(8),
        )

    def happens(self, type: str, fence: int) -> None:
        number = len(self.events)
        event = Row(number=number + 1, type=type, fence=fence, step=1, data={}, created_at=self.at(number))
        self.events.append(event)
        self.job.event_count = number + 1

    def ends_without_adapter(self, *types: str) -> None:
        """From the second attempt's start on, this happened in place of the success."""
        del self.events[5:]
        for type in types:
            self.happens(type, 2)
        self.job.state = types[-1].removeprefix("job.")
        self.versions.clear()

    def violations(self) -> set[str]:
        history = History(
            {"job_a": self.job}, {"job_a": self.events}, {"job_a": self.attempts}, self.artifacts, self.versions
        )
        return {violation.name for violation in check(history, self.store, self.evidence)}


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path)


def test_a_whole_life_passes(life: Life) -> None:
    assert life.violations() == set()


@pytest.mark.parametrize("types", [["job.pausing", "job.paused"], ["job.cancelling", "job.cancelled"], ["job.failed"]])
def test_other_ends_pass(life: Life, types: list[str]) -> None:
    life.ends_without_adapter(*types)
    assert life.violations() == set()


def left_running(life: Life) -> None:
    life.ends_without_adapter("job.step")
    life.job.state = "running"


def ends_twice(life: Life) -> None:
    life.happens("job.failed", 2)
    life.job.state = "failed"


def row_says_other_than_events(life: Life) -> None:
    life.ends_without_adapter("job.failed")
    life.job.state = "cancelled"


def event_is_missing(life: Life) -> None:
    del life.events[2]


def second_version(life: Life) -> None:
    life.versions.append(life.versions[0])


def no_version(life: Life) -> None:
    life.versions.clear()


def torn_file(life: Life) -> None:
    (life.folder / "store/jobs/job_a/2/adapter").write_bytes(b"weig")


def missing_file(life: Life) -> None:
    (life.folder / "store/jobs/job_a/2/adapter").unlink()


def manifest_of_another_adapter(life: Life) -> None:
    life.artifacts[0] = life.stored("adapter", "adapter", b"others")


def stale_event(life: Life) -> None:
    life.events[6].fence = 1


def write_while_queued(life: Life) -> None:
    life.events[2], life.events[3] = life.events[3], life.events[2]
    for number, event in enumerate(life.events):
        event.number = number + 1


def fence_skipped(life: Life) -> None:
    for event in life.events[4:]:
        event.fence = 3


def late_file(life: Life) -> None:
    life.artifacts[0].created_at = life.at(9.1)


def lost_submit(life: Life) -> None:
    life.evidence = Evidence(accepted={"k": ["job_a"], "l": ["job_b"]})


def two_answers_to_a_key(life: Life) -> None:
    life.evidence = Evidence(accepted={"k": ["job_a", "job_b"]})


def slow_cancel(life: Life) -> None:
    life.ends_without_adapter("job.cancelling", "job.cancelled")
    life.events[-1].created_at = life.at(60)


def child_of_a_finished_job(life: Life) -> None:
    life.evidence = Evidence(alive=[("job_a", 2)])


WRONGS: dict[Callable[[Life], None], str] = {
    left_running: "I1", ends_twice: "I1", row_says_other_than_events: "I1", event_is_missing: "I1",
    second_version: "I2", no_version: "I2", torn_file: "I2", missing_file: "I2", manifest_of_another_adapter: "I2",
    stale_event: "I3", write_while_queued: "I3", fence_skipped: "I3", late_file: "I3",
    lost_submit: "I4", two_answers_to_a_key: "I4",
    slow_cancel: "I5", child_of_a_finished_job: "I5",
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONGS, ids=lambda wrong: wrong.__name__)
def test_each_wrong_is_told_by_name(life: Life, wrong: Callable[[Life], None]) -> None:
    wrong(life)
    assert WRONGS[wrong] in life.violations()
