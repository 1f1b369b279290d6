"""A store that is slow or away, and a worker without a place to work in: no job pays for them with an attempt."""

import errno
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
from service.domain.outside import Store
from service.domain.principals import LOCAL
from service.domain.recipes import JobRequest
from service.operations.files import Files
from service.telemetry import Pulse
from tests.eventually import eventually
from tests.worker.attempt.conftest import Aside, Workshop
from worker.tasks import OFFERS, Rest, Worker

NEVER = 150.0
"""Seconds between two looks, of a worker that a test wakes; it rests for twice that."""


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
    @pytest.mark.parametrize(
        ("name", "what"), [("pytorch_lora_weights", "pytorch_lora_weights.safetensors"), ("manifest", "its manifest")]
    )
    def test_that_the_store_does_not_take_is_counted_and_costs_no_step_that_is_stored(
        self, workshop: Workshop, gate: Gate, hasty: None, name: str, what: str
    ) -> None:
        job = workshop.submit(steps=6, every=6)
        gate.refused = lambda verb, key: name in key
        workshop.attempt().run()
        assert counted(workshop, job) == (State.QUEUED, 1, ["not_stored"])
        told = workshop.events(job, "job.requeued")[0].data["message"]
        assert f"{what} could not be stored" in told
        assert "the store refuses" in told
        gate.refused = lambda verb, key: False
        workshop.attempt().run()
        assert counted(workshop, job) == (State.SUCCEEDED, 1, ["not_stored", "succeeded"])
        assert [event.step for event in workshop.events(job, "job.step")] == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("name", ["", "manifest"])
    def test_that_the_store_never_takes_fails_the_job_after_three_trainings(
        self, workshop: Workshop, gate: Gate, hasty: None, name: str
    ) -> None:
        """It answers reads and takes nothing: a full training for each try, so there are no twenty."""
        job = workshop.submit(steps=2, every=9)
        gate.refused = lambda verb, key: verb == "put" and name in key
        for _ in range(3):
            workshop.attempt().run()
        failed = workshop.job(job)
        assert (failed.state, failed.error and failed.error.code) == (State.FAILED, "not_stored")

    def test_goes_on_where_old_checkpoints_cannot_be_removed_now(
        self, workshop: Workshop, hasty: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: object, **__: object) -> None:
            raise Unavailable("the store does not delete")

        monkeypatch.setattr(workshop.attempts, "thin", away)
        job = workshop.submit(steps=4, every=2)
        workshop.attempt().run()
        assert counted(workshop, job) == (State.SUCCEEDED, 0, ["succeeded"])

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
        assert [workshop.job(job).attempts[0].cause for job in (first, second)] == ["handed_back"] * 2

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


class TestADiskThatFills:
    def test_is_the_worker_s_and_costs_no_attempt(self, workshop: Workshop) -> None:
        job = workshop.submit("full")
        for _ in range(4):
            workshop.attempt().run()
        assert counted(workshop, job) == (State.QUEUED, 0, ["no_scratch"] * 4)

    def test_that_is_no_disk_of_the_scratch_folder_is_not_blamed_on_it(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unreadable(*_: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/file")

        monkeypatch.setattr("worker.attempt.inputs.Inputs.prompts", unreadable)
        job = workshop.submit()
        workshop.attempt().run()
        assert counted(workshop, job) == (State.QUEUED, 1, ["internal_error"])


class TestAWorkerInTrouble:
    """It is the idle one of its fleet: without a rest it would take each job the moment it is due."""

    def test_takes_no_job_for_a_while_and_says_so(
        self, workshop: Workshop, gate: Gate, hasty: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = posted_with_a_file(workshop)
        other = workshop.submit()
        gate.refused = lambda verb, key: verb == "get"
        pulse = Pulse(patience=60)
        worker = Worker("tester", workshop.place(), NEVER, OFFERS, pulse)
        worker.wake()
        worker.wake()
        worker.join()
        assert counted(workshop, job) == (State.QUEUED, 0, ["unavailable"])
        assert workshop.job(other).fence == 0
        assert "no job is taken for" in caplog.text
        quiet = pulse.quiet
        worker.wake()
        assert quiet is not None
        assert pulse.quiet is not None
        assert pulse.quiet > quiet, "no beat: it is not ready while that lasts"

    def test_rests_twice_as_long_each_time_in_a_row_and_five_minutes_at_most(self) -> None:
        now = [0.0]
        rest = Rest(10.0, lambda: now[0])
        for seconds in (10, 20, 40, 80, 160, 300, 300):
            rest.note("unavailable")
            now[0] += seconds - 1
            assert not rest.is_over
            now[0] += 1
            assert rest.is_over
        rest.note(None)
        rest.note("no_scratch")
        now[0] += 10
        assert rest.is_over

    def test_takes_the_next_job_once_it_has_rested(self, workshop: Workshop, gate: Gate, hasty: None) -> None:
        job = posted_with_a_file(workshop)
        gate.refused = lambda verb, key: verb == "get"
        worker = workshop.worker()
        worker.start()
        eventually(lambda: workshop.job(job).attempts and workshop.job(job).attempts[0].cause == "unavailable")
        gate.refused = lambda verb, key: False
        workshop.reaches(job, State.SUCCEEDED)
        worker.stop()
        worker.join()


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

    def test_is_asked_for_once_while_children_find_it(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not at each look for work: a process that asks a driver hangs as the driver does."""
        asked: list[str] = []
        monkeypatch.setattr("worker.tasks.check_device", asked.append)
        worker = workshop.worker()
        good = workshop.submit()
        worker.wake()
        worker.wake()
        worker.join()
        assert workshop.job(good).state is State.SUCCEEDED
        assert asked == ["cpu"]

    def test_that_a_child_did_not_find_is_asked_for_before_the_next_job(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        monkeypatch.setattr("worker.tasks.check_device", asked.append)
        worker, lost = workshop.worker(), workshop.submit("lost")
        worker.start()
        eventually(lambda: len(asked) > 1)
        worker.stop()
        worker.join()
        assert workshop.job(lost).attempts[0].cause == "device_unavailable"
