import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from service.domain.errors import FenceLost, Unavailable
from service.domain.ids import Fence, JobId
from service.domain.jobs import State
from tests.eventually import eventually
from worker.attempt.process import Process, bare_environment
from worker.attempt.watch import Patience, Watch

pytestmark = pytest.mark.alone
JOB, FENCE = JobId("job_" + "0" * 26), Fence(1)
QUICK = Patience(lease=0.6, step_timeout=30, grace=0.1, hand_back=0.1)
LOYAL = "import signal; signal.pause()"
LEASE = replace(QUICK, lease=1.8)
"""It ends what runs 0.3 s before it is over: time enough for a busy machine to notice."""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


class Truth:
    """Stands for the database: says the state, or fails, or never answers."""

    def __init__(self) -> None:
        self.state = State.RUNNING
        self.error: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.beats: list[float] = []
        self.looks = 0

    def heartbeat(self, job_id: JobId, fence: Fence) -> State:
        self.beats.append(monotonic())
        return self._answer()

    def control(self, job_id: JobId, fence: Fence) -> State:
        self.looks += 1
        return self._answer()

    def _answer(self) -> State:
        self.answers.wait()
        if self.error:
            raise self.error
        return self.state


@pytest.fixture
def truth() -> Iterator[Truth]:
    truth = Truth()
    yield truth
    truth.answers.set()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    yield from started(tmp_path, LOYAL)


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Process]:
    for process in started(tmp_path, DEAF):
        assert next(process.output()) == "deaf"
        yield process


def started(folder: Path, code: str) -> Iterator[Process]:
    process = Process([sys.executable, "-c", code], environment=bare_environment(folder, 1), folder=folder)
    yield process
    process.kill()
    process.wait(5)
    process.close()


def watch(truth: Truth, patience: Patience = QUICK) -> Watch:
    return Watch(truth, JOB, FENCE, patience, monotonic())


class TestLease:
    def test_is_renewed_every_third_of_it_and_the_state_looked_at_in_between(self, truth: Truth) -> None:
        with watch(truth):
            eventually(lambda: len(truth.beats) >= 4)
        gaps = [after - before for before, after in zip(truth.beats, truth.beats[1:], strict=False)]
        assert min(gaps) >= 0.19
        assert truth.looks >= 4

    def test_outlives_an_error_that_passes(self, truth: Truth, process: Process) -> None:
        truth.error = Unavailable()
        with watch(truth) as watching:
            watching.attach(process)
            eventually(lambda: truth.beats)
            truth.error = None
            eventually(lambda: len(truth.beats) >= 6)
            assert not watching.lost

    @pytest.mark.parametrize("way", ["fails", "hangs", "has a fault"])
    def test_that_cannot_be_renewed_ends_the_process_before_it_is_over(
        self, way: str, truth: Truth, process: Process
    ) -> None:
        truth.error = {"fails": Unavailable(), "has a fault": ZeroDivisionError()}.get(way)
        if way == "hangs":
            truth.answers.clear()
        began = monotonic()
        with watch(truth, LEASE) as watching:
            watching.attach(process)
            assert process.wait(5) == -signal.SIGKILL
            assert monotonic() - began < LEASE.lease
            assert watching.ended == "lease_over"
            assert watching.lost
            truth.answers.set()

    def test_counts_from_before_the_claim(self, truth: Truth, process: Process) -> None:
        truth.error = Unavailable()
        began = monotonic()
        with Watch(truth, JOB, FENCE, LEASE, monotonic() - LEASE.lease / 2) as watching:
            watching.attach(process)
            assert process.wait(5) == -signal.SIGKILL
            assert monotonic() - began < LEASE.lease / 2

    def test_of_another_ends_the_process_at_once(self, truth: Truth, process: Process) -> None:
        truth.error = FenceLost()
        with watch(truth, Patience(lease=3, step_timeout=30)) as watching:
            watching.attach(process)
            assert process.wait(5) == -signal.SIGKILL
            assert watching.ended == "fence_lost"

    def test_lost_while_nothing_runs_kills_what_comes_later(self, truth: Truth, process: Process) -> None:
        with watch(truth) as watching:
            watching.end("fence_lost")
            watching.attach(process)
            assert process.wait(5) == -signal.SIGKILL


class TestStop:
    def test_of_a_cancel_is_terminated_after_its_grace(self, truth: Truth, process: Process) -> None:
        with watch(truth) as watching:
            watching.attach(process)
            truth.state = State.CANCELLING
            assert process.wait(5) == -signal.SIGTERM
            assert watching.asked == "cancel"

    def test_of_one_that_will_not_hear_is_a_kill(self, truth: Truth, deaf: Process) -> None:
        with watch(truth) as watching:
            watching.attach(deaf)
            watching.ask("pause")
            assert deaf.wait(5) == -signal.SIGKILL
            assert watching.ended == "grace_over"
            assert not watching.lost

    def test_waits_for_two_steps_where_they_take_longer_than_the_grace(self, truth: Truth, process: Process) -> None:
        with watch(truth) as watching:
            watching.attach(process)
            watching.heard(step_seconds=0.25)
            began = monotonic()
            watching.ask("cancel")
            assert process.wait(5) == -signal.SIGTERM
            assert monotonic() - began >= 0.5

    def test_of_a_pause_waits_for_the_checkpoint_that_the_child_says_it_is_writing(
        self, truth: Truth, process: Process
    ) -> None:
        with watch(truth, Patience(lease=30, step_timeout=30, grace=0.1, saving=0.6)) as watching:
            watching.attach(process)
            began = monotonic()
            watching.ask("pause")
            watching.saving()
            assert process.wait(5) == -signal.SIGTERM
            assert monotonic() - began >= 0.6

    def test_of_a_cancel_does_not_wait_for_a_checkpoint(self, truth: Truth, process: Process) -> None:
        with watch(truth, Patience(lease=30, step_timeout=30, grace=0.1, saving=30)) as watching:
            watching.attach(process)
            watching.ask("pause")
            watching.saving()
            watching.ask("cancel")
            assert process.wait(5) == -signal.SIGTERM

    def test_asked_before_the_process_runs_is_told_to_it(self, truth: Truth, process: Process) -> None:
        with watch(truth) as watching:
            watching.ask("hand_back")
            watching.attach(process)
            assert process.wait(5) == -signal.SIGTERM

    def test_of_a_process_that_does_not_speak_is_without_grace(self, truth: Truth, process: Process) -> None:
        with watch(truth, Patience(lease=30, step_timeout=30)) as watching:
            watching.attach(process, speaks=False)
            watching.ask("hand_back")
            assert process.wait(5) == -signal.SIGTERM

    def test_is_made_stronger_never_weaker(self, truth: Truth) -> None:
        with watch(truth, Patience(lease=30, step_timeout=30)) as watching:
            watching.ask("pause")
            watching.ask("hand_back")
            assert watching.asked == "pause"
            watching.ask("cancel")
            assert watching.asked == "cancel"


class TestSilence:
    def test_of_the_child_ends_it_as_stuck_and_the_lease_is_kept(self, truth: Truth, process: Process) -> None:
        with watch(truth, Patience(lease=0.6, step_timeout=0.2)) as watching:
            watching.attach(process)
            assert process.wait(5) == -signal.SIGKILL
            assert watching.ended == "stuck"
            watching.detach()
            beats = len(truth.beats)
            eventually(lambda: len(truth.beats) > beats + 1)
            assert not watching.lost

    def test_of_one_that_is_not_expected_to_speak_is_nothing(self, truth: Truth, process: Process) -> None:
        with watch(truth, Patience(lease=0.3, step_timeout=0.1)) as watching:
            watching.attach(process, speaks=False)
            eventually(lambda: len(truth.beats) >= 3)
            assert watching.ended is None
