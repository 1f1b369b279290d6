import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from worker import pipe
from worker.attempt.process import Process, bare_environment
from worker.child.lifeline import PARENT_GONE

pytestmark = pytest.mark.alone
PRELUDE = """if 1:
    import os, signal, sys, time
    from worker import pipe
    from worker.child.lifeline import Lifeline
    down, up = (os.fdopen(int(n), m) for n, m in zip(sys.argv[-2:], ("rb", "wb")))
    lifeline = Lifeline(down, {lease})
    pipe.send(up, pipe.Ready("here", None))
"""
IDLE = "    signal.pause()"
HOLDS_THE_INTERPRETER = "    import re; re.match(r'(a+)+$', 'a' * 60 + 'b')"


class Child:
    def __init__(self, folder: Path, lease: float, then: str) -> None:
        command = [sys.executable, "-c", PRELUDE.format(lease=lease) + then]
        self.process = Process(command, environment=bare_environment(folder, 1), folder=folder)
        self.said = self.process.messages()
        assert next(self.said) == pipe.Ready("here", None)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[type[Child]]:
    made: list[Child] = []

    def make(lease: float, then: str = IDLE) -> Child:
        made.append(Child(tmp_path, lease, then))
        return made[-1]

    yield make  # type: ignore[misc]
    for child in made:
        child.process.kill()
        child.process.wait(5)
        child.process.close()


class TestLifeline:
    def test_that_breaks_ends_the_child_at_once(self, make: type[Child]) -> None:
        child = make(30)  # type: ignore[call-arg]
        child.process._letters.put(None)  # our end closes, as it does when the parent is killed
        assert child.process.wait(5) == PARENT_GONE

    @pytest.mark.parametrize("busy", [IDLE, HOLDS_THE_INTERPRETER])
    def test_ends_the_child_before_its_lease_does_even_one_that_hangs(self, make: type[Child], busy: str) -> None:
        child = make(1.0, busy)  # type: ignore[call-arg]
        began = monotonic()
        assert child.process.wait(5) == -signal.SIGALRM
        assert monotonic() - began < 1.5

    def test_is_prolonged_by_every_tick(self, make: type[Child]) -> None:
        child = make(2.0)  # type: ignore[call-arg]
        child.process.send(pipe.Tick(4.0))
        began = monotonic()
        assert child.process.wait(10) == -signal.SIGALRM
        assert monotonic() - began > 2.5

    def test_hands_on_a_stop_and_the_child_chooses_when(self, make: type[Child]) -> None:
        obeys = """
    while not lifeline.stop:
        time.sleep(0.01)
    pipe.send(up, pipe.Report(lifeline.stop.reason, 1))"""
        child = make(30, obeys)  # type: ignore[call-arg]
        child.process.send(pipe.Stop("pause", True))
        assert next(child.said) == pipe.Report("pause", 1)
        assert child.process.wait(5) == 0
