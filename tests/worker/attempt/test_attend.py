"""Listening to processes that make it hard. What a job becomes of it: test_attempt.py."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from service.domain.ids import Fence, JobId
from service.domain.jobs import State
from tests.eventually import eventually
from worker import pipe
from worker.attempt import attend as listening
from worker.attempt.attend import Line, Said, attend
from worker.attempt.process import Process, bare_environment
from worker.attempt.watch import Patience, Watch

SPEAKING = """if 1:
    import os, signal, sys, time
    from worker import pipe
    down, up = (os.fdopen(int(n), m) for n, m in zip(sys.argv[-2:], ("rb", "wb")))
"""


class Granted:
    """A lease that is always renewed."""

    def heartbeat(self, job_id: JobId, fence: Fence) -> State:
        return State.RUNNING

    control = heartbeat


@pytest.fixture
def watch() -> Iterator[Watch]:
    patience = Patience(lease=30, step_timeout=30)
    with Watch(Granted(), JobId("job_" + "0" * 26), Fence(1), patience, monotonic()) as watch:
        yield watch


def start(folder: Path, code: str) -> Process:
    return Process([sys.executable, "-c", SPEAKING + code], environment=bare_environment(folder, 1), folder=folder)


class TestAttend:
    def test_hears_all_words_and_lines_of_one_that_ends_well(self, tmp_path: Path, watch: Watch) -> None:
        code = """
    for step in range(2000):
        pipe.send(up, pipe.Report("job.step", step))
        print("line", step)
    """
        heard: list[Said] = []
        assert attend(start(tmp_path, code), watch, heard.append) == 0
        assert [said.step for said in heard if isinstance(said, pipe.Report)] == list(range(2000))
        assert [said.text for said in heard if isinstance(said, Line)] == [f"line {step}" for step in range(2000)]

    def test_kills_one_that_has_closed_its_words_and_prints_for_ever(
        self, tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listening, "EXIT_SECONDS", 0.3)
        code = """
    up.close()
    while True:
        print("and another thing", flush=True)
    """
        assert attend(start(tmp_path, code), watch, lambda said: None) == -9

    def test_does_not_wait_for_a_reader_that_fails(self, tmp_path: Path, watch: Watch) -> None:
        """The pipes are full, and nobody will ever take anything out again."""
        code = """
    while True:
        pipe.send(up, pipe.Report("job.log", 1, {"lines": ["x" * 500]}))
        print("x" * 500)
    """

        def take(said: Said) -> None:
            raise ZeroDivisionError

        process = start(tmp_path, code)
        with pytest.raises(ZeroDivisionError):
            attend(process, watch, take)
        assert process.is_gone

    @pytest.mark.parametrize("pipes", ["open", "closed"])
    def test_gives_the_job_up_and_keeps_the_device_while_a_process_outlives_sigkill(
        self, tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch, pipes: str
    ) -> None:
        """As one does inside of a driver that hangs: here, one whose kill is lost at first."""
        monkeypatch.setattr(listening, "EXIT_SECONDS", 0.1)
        monkeypatch.setattr(listening, "KILL_SECONDS", 0.1)
        closing = "up.close(); os.close(1); os.close(2)" if pipes == "closed" else "pass"
        process = start(tmp_path, f"\n    {closing}\n    signal.pause()")
        kill = process.kill
        monkeypatch.setattr(process, "kill", lambda: None)
        attending = threading.Thread(target=attend, args=(process, watch, lambda said: None))
        attending.start()
        if pipes == "open":
            watch.end("stuck")
        eventually(lambda: watch.lost)
        assert attending.is_alive(), "no other job may find its memory taken"
        kill()
        attending.join(10)
        assert not attending.is_alive()
