"""`make up` for real: all processes, a crash of the supervisor, the next start, and a stop that leaves nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.eventually import eventually
from tests.servers.processes import free_port

KEY = "a-key-for-this-test-only"
NAMES = {"broker", "gateway", "steward", "worker", "inference"}
READY_SECONDS = 90


class Up:
    """One run of `python -m service.manage up` on free ports."""

    def __init__(self, state: Path) -> None:
        self.state, self.ports = state, [free_port(), free_port()]
        self.start()

    def start(self) -> None:
        environment = os.environ | {
            "STROP_STATE_DIR": str(self.state),
            "STROP_API_KEY": KEY,
            "STROP_PORT": str(self.ports[0]),
            "STROP_INFERENCE_PORT": str(self.ports[1]),
            "STROP_GRPC_PORT": "0",
        }
        with (self.state / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.manage", "up"], env=environment, stdout=log, stderr=log
            )

    def ready(self) -> bool:
        assert self.process.poll() is None, (self.state / "up.log").read_text()
        try:
            return all(httpx.get(f"http://127.0.0.1:{port}/readyz").is_success for port in self.ports)
        except httpx.TransportError:
            return False

    def keys(self) -> list[object]:
        """The public keys that the gateway tells: the steward has made its own known."""
        told: list[object] = httpx.get(f"http://127.0.0.1:{self.ports[0]}/.well-known/strop-keys").json()["keys"]
        return told

    def recorded(self) -> dict[str, int]:
        notes = (self.state / "pids").glob("*.json")
        return {note.stem: json.loads(note.read_text())["pid"] for note in notes if note.stem != "supervisor"}

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@pytest.fixture
def up(tmp_path: Path):
    stack = Up(tmp_path)
    yield stack
    if stack.process.poll() is None:
        stack.stop()


@pytest.mark.slow
def test_a_crash_of_the_supervisor_is_cleared_by_the_next_start_and_a_stop_leaves_nothing(up: Up) -> None:
    eventually(up.ready, READY_SECONDS)
    before = up.recorded()
    assert set(before) == NAMES

    assert (up.state / "signing-key.pem").stat().st_mode & 0o777 == 0o600
    eventually(up.keys, READY_SECONDS)
    told = {name for name, pid in before.items() if "STROP_SIGNING_KEY_FILE" in psutil.Process(pid).environ()}
    assert told == {"steward"}

    psutil.Process(before["gateway"]).kill()
    eventually(lambda: up.recorded()["gateway"] != before["gateway"], READY_SECONDS)
    eventually(up.ready, READY_SECONDS)

    up.process.kill()
    up.process.wait(10)
    orphans = up.recorded()
    assert psutil.pid_exists(orphans["worker"])
    up.start()
    eventually(lambda: not [name for name, pid in orphans.items() if psutil.pid_exists(pid)], READY_SECONDS)
    eventually(lambda: set(up.recorded()) == NAMES, READY_SECONDS)  # the old ones answered until now
    eventually(up.ready, READY_SECONDS)

    second = subprocess.run(
        [sys.executable, "-m", "service.manage", "up"],
        env=os.environ | {"STROP_STATE_DIR": str(up.state)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode != 0
    assert "already runs" in second.stderr

    last = up.recorded()
    up.stop()
    assert not [name for name, pid in last.items() if psutil.pid_exists(pid)]
