"""What a container's health check says, by the command that compose and the chart run."""

import subprocess
import sys
from pathlib import Path

from service.telemetry import Pulse, served
from tests.servers.processes import free_port

ROOT = Path(__file__).resolve().parents[2]


def health(*words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "deploy.health", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr


def test_a_process_that_goes_about_its_work_is_healthy_and_one_that_does_not_is_said_to_be_quiet() -> None:
    pulse, port = Pulse(patience=600), free_port()
    with served(pulse, port):
        status, said = health("ready", str(port))
        assert status == 1
        assert f"port {port} is not ready: it answers 503" in said and "quiet" in said
        pulse.beat()
        assert health("ready", str(port)) == (0, "")


def test_where_nobody_answers_it_is_a_sentence() -> None:
    status, said = health("ready", str(free_port()))
    assert (status, said.startswith("strop: port ")) == (1, True)


def test_without_words_it_says_how_it_is_used() -> None:
    assert health()[0] == 1
