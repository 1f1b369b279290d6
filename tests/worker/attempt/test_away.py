"""A store that is slow or away, and a worker without a place to work in: no job pays for them with an attempt."""

import io
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from service.domain.artifacts import Kind
from service.domain.errors import Unavailable
from service.domain.ids import JobId
from service.domain.jobs import State
from service.domain.ports import Store
from service.domain.principals import LOCAL
from service.domain.recipes import JobRequest
from service.operations.files import Files
from service.telemetry import Pulse
from tests.eventually import eventually
from tests.worker.attempt.conftest import Aside, Workshop
from worker.tasks import OFFERS, Worker


class Gate:
    """A real store, before which the calls of one verb for some keys wait, while it is shut, or are refused."""

    def __init__(self, store: Store) -> None:
        self._store, self.open_gate = store, threading.Event()
        self.stopped: Callable[[str, str], bool] = lambda verb, key: False
        self.refused: Callable[[str, str], bool] = lambda verb, key: False
        self.waiting = 0

    def put_file(self, key: str, path: Path) -> None:
        self._pass("put", key)
        self._store.put_file(key, path)
        self._pass("stored", key)

    def get_file(self, key: str, path: Path) -> None:
        self._pass("get", key)
        self._store.get_file(key, path)

    def _pass(self, verb: str, key: str) -> None:
        if self.refused(verb, key):
            raise Unavailable("the store refuses")
        if self.stopped(verb, key):
            self.waiting += 1
            assert self.open_gate.wait(30)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def gate(workshop: Workshop) -> Iterator[Gate]:
    gate = Gate(workshop.store)
    workshop.store = gate  # type: ignore[assignment]
    workshop.use_lease(workshop.lease)
    yield gate
    gate.open_gate.set()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for a store, in tests of what comes after that."""
    monkeypatch.setattr("worker.attempt.inputs.STORE_SECONDS", 0.2)
    monkeypatch.setattr("worker.attempt.scribe.STORE_SECONDS", 0.2)
    monkeypatch.setattr("worker.attempt.scribe.LAST_STORE_SECONDS", 0.4)
    monkeypatch.setattr("worker.attempt.attempt.LAST_STORE_SECONDS", 0.4)


def posted_with_a_file(workshop: Workshop, content: bytes = b"a red dot\na blue dot\n") -> JobId:
    file = Files(workshop.database, workshop.store).upload(LOCAL, "p.txt", io.BytesIO(content))[0]
    body = {
        "base_model": "b", "prompts_file": file.id, "reward": {"type": "jpeg-compressibility"}, "steps": 2,
    }  # fmt: skip
    return workshop.jobs.submit(LOCAL, JobRequest.model_validate(body))[0].id


def counted(workshop: Workshop, job: JobId) -> tuple[State, int, list[str | None]]:
    found = workshop.job(job)
    return found.state, found.failures, [attempt.cause for attempt in found.attempts]


class TestPromptsOfAFile:
    def test_are_what_the_child_is_given(self, workshop: Workshop) -> None:
        job = posted_with_a_file(workshop)
        workshop.attempt().run()
        (adapter,) = workshop.artifacts(job, Kind.ADAPTER)
        assert b"".join(workshop.store.open(adapter.key)) == b"adapter of a red dot\na blue dot\n"

    def test_come_while_the_lease_is_kept_however_slow_the_store(self, workshop: Workshop, gate: Gate) -> None:
        workshop.use_lease(1.5)
        gate.stopped = lambda verb, key: verb == "get"
        job = posted_with_a_file(workshop)
        began = monotonic()
        with Aside(target=workshop.attempt().run):
            eventually(lambda: gate.waiting and monotonic() > began + 2.5)
            assert workshop.attempts.reap() == 0
            gate.open_gate.set()
        assert counted(workshop, job) == (State.SUCCEEDED, 0, ["succeeded"])

    def test_that_are_not_to_be_had_now_cost_no_attempt(self, workshop: Workshop, gate: Gate, hasty: None) -> None:
        job = posted_with_a_file(workshop)
        gate.refused = lambda verb, key: verb == "get"
        for _ in range(4):
            workshop.attempt().run()
        assert counted(workshop, job) == (State.QUEUED, 0, ["unavailable"] * 4)
        gate.refused = lambda verb, key: False
        workshop.attempt().run()
        assert workshop.job(job).state is State.SUCCEEDED

    def test_that_are_others_than_were_uploaded_train_nothing(self, workshop: Workshop) -> None:
        job = posted_with_a_file(workshop)
        (key,) = workshop.store.list("files/")
        other = workshop.folder / "other"
        other.write_bytes(b"a cat")
        workshop.store.put_file(key, other)
        workshop.attempt().run()
        assert counted(workshop, job) == (State.QUEUED, 1, ["damaged"])


class TestWhatATrainingEndsWith:
    @pytest.mark.parametrize("name", ["pytorch_lora_weights", "manifest"])
    def test_that_the_store_does_not_take_costs_no_attempt_and_no_step(
        self, workshop: Workshop, gate: Gate, hasty: None, name: str
    ) -> None:
        job = workshop.submit(steps=6, every=6)
        gate.refused = lambda verb, key: name in key
        workshop.attempt().run()
        assert counted(workshop, job) == (State.QUEUED, 0, ["unavailable"])
        gate.refused = lambda verb, key: False
        workshop.attempt().run()
        assert counted(workshop, job) == (State.SUCCEEDED, 0, ["unavailable", "succeeded"])
        assert [event.step for event in workshop.events(job, "job.step")] == [1, 2, 3, 4, 5, 6]

    def test_is_waited_for_longer_than_what_can_be_done_without(
        self, workshop: Workshop, gate: Gate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.attempt.scribe.STORE_SECONDS", 0.1)
        job = workshop.submit(steps=1, every=9)
        tries = []
        gate.refused = lambda verb, key: "lora" in key and len(tries) < 5 and not tries.append(key)  # type: ignore[func-returns-value]
        workshop.attempt().run()
        assert workshop.job(job).state is State.SUCCEEDED


class TestAWorkerThatEnds:
    """Its supervisor kills it soon: a job that is handed back is worth more than a file that comes too late."""

    @pytest.mark.parametrize(("what", "steps"), [("checkpoint", 10_000), ("lora", 3), ("manifest", 3)])
    def test_leaves_an_upload_that_takes_too_long(self, workshop: Workshop, gate: Gate, what: str, steps: int) -> None:
        gate.stopped = lambda verb, key: verb == "put" and what in key
        job = workshop.submit(steps=steps, every=2)
        attempt = workshop.attempt(leave=0.3)
        with Aside(target=attempt.run):
            eventually(lambda: gate.waiting)
            attempt.hand_back()
            workshop.reaches(job, State.QUEUED, 10)
        assert counted(workshop, job) == (State.QUEUED, 0, ["handed_back"])

    def test_leaves_a_download_too(self, workshop: Workshop, gate: Gate) -> None:
        gate.stopped = lambda verb, key: verb == "get"
        job = posted_with_a_file(workshop)
        attempt = workshop.attempt(leave=0.3)
        with Aside(target=attempt.run):
            eventually(lambda: gate.waiting)
            attempt.hand_back()
        assert counted(workshop, job) == (State.QUEUED, 0, ["handed_back"])

    def test_leaves_the_end_that_is_being_written_behind_the_next_job(self, workshop: Workshop, gate: Gate) -> None:
        gate.stopped = lambda verb, key: "manifest" in key
        first, second = workshop.submit(), workshop.submit(steps=10_000)
        worker = workshop.worker(leave=0.3)
        worker.start()
        eventually(lambda: gate.waiting)
        workshop.trains(second)
        worker.stop()
        worker.join()
        assert {workshop.job(job).state for job in (first, second)} == {State.QUEUED}
        assert {workshop.job(job).failures for job in (first, second)} == {0}

    def test_a_file_that_comes_after_that_is_refused_by_its_fence(self, workshop: Workshop, gate: Gate) -> None:
        gate.stopped = lambda verb, key: verb == "stored" and "checkpoint" in key
        job = workshop.submit(steps=10_000, every=2)
        attempt = workshop.attempt(leave=0.1)
        with Aside(target=attempt.run):
            eventually(lambda: gate.waiting)
            attempt.hand_back()
        gate.open_gate.set()
        eventually(lambda: not [each for each in threading.enumerate() if each.name == "store"])
        assert [key for key in workshop.store.list("jobs/") if "checkpoint" in key], "an orphan, for the steward"
        assert workshop.artifacts(job) == []


class TestAWorkerWithoutScratch:
    def take_away(self, workshop: Workshop) -> Path:
        """A file in its place: nobody can make a folder there, not even root."""
        root = workshop.folder / "scratch"
        shutil.rmtree(root)
        root.write_text("no folder")
        return root

    def test_costs_the_job_that_it_has_no_attempt(self, workshop: Workshop) -> None:
        job = workshop.submit()
        attempt = workshop.attempt()
        self.take_away(workshop)
        attempt.run()
        assert counted(workshop, job) == (State.QUEUED, 0, ["no_scratch"])
        assert "scratch folder cannot be used" in workshop.events(job, "job.requeued")[0].data["message"]

    def test_takes_no_job_and_is_not_ready_until_it_can_write_again(self, workshop: Workshop) -> None:
        pulse = Pulse(patience=60)
        worker = Worker("tester", workshop.place(), 0.1, OFFERS, pulse)
        job, root = workshop.submit(), self.take_away(workshop)
        with pytest.raises(Unavailable, match="scratch folder cannot be written to"):
            worker.wake()
        assert not pulse.ready
        assert counted(workshop, job) == (State.QUEUED, 0, [])
        root.unlink()
        worker.wake()
        worker.join()
        assert pulse.ready
        assert workshop.job(job).state is State.SUCCEEDED


class TestALostGpu:
    @pytest.fixture
    def driverless(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A machine whose driver cannot be opened."""
        driver = tmp_path / "driver" / "libcuda.so.1"
        driver.parent.mkdir()
        driver.write_text("no library")
        monkeypatch.setenv("LD_LIBRARY_PATH", str(driver.parent))
        return driver

    def test_takes_no_job_and_is_not_ready(self, workshop: Workshop, driverless: Path) -> None:
        """A worker that was told to use it: none of the jobs that others could train is touched."""
        pulse = Pulse(patience=60)
        worker = Worker("tester", replace(workshop.place(), device="cuda"), 0.1, OFFERS, pulse)
        job = workshop.submit()
        with pytest.raises(Unavailable, match="no such GPU answers"):
            worker.wake()
        assert not pulse.ready
        assert counted(workshop, job) == (State.QUEUED, 0, [])
