"""The embedded stack as a child process of the demo, on free ports, and clients with its key."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import strop

START_SECONDS = 120
STOP_SECONDS = 60
PORTS = ("STROP_PORT", "STROP_INFERENCE_PORT", "STROP_GRPC_PORT")


class Stack(NamedTuple):
    gateway: httpx.Client
    """Plain HTTP, to post as curl does."""
    client: strop.Client


@contextmanager
def running(state: Path) -> Iterator[Stack]:
    """Start gateway, steward, worker, inference and broker; stop every one of them at the end, whatever happened."""
    key = os.environ.get("STROP_API_KEY") or secrets.token_urlsafe(24)
    ports = {name: str(int(os.environ.get(name, "0")) or _free_port()) for name in PORTS}
    gateway, inference = (f"http://127.0.0.1:{ports[name]}" for name in ("STROP_PORT", "STROP_INFERENCE_PORT"))
    environment = os.environ | {"STROP_STATE_DIR": str(state), "STROP_API_KEY": key, "STROP_HOST": "127.0.0.1"} | ports
    state.mkdir(parents=True, exist_ok=True)
    log = state / "demo-stack.log"
    with log.open("w") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "service.manage", "up"], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    headers = {"Authorization": f"Bearer {key}"}
    try:
        for url in (gateway, inference):
            _wait_ready(url, supervisor, log)
        with httpx.Client(base_url=gateway, headers=headers, timeout=30) as plain, strop.Client(gateway, key) as client:
            yield Stack(plain, client)
    finally:
        supervisor.send_signal(signal.SIGTERM)
        try:
            supervisor.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            supervisor.kill()


def _wait_ready(url: str, supervisor: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            raise SystemExit(f"demo: the stack ended while it started; {log} says:\n{log.read_text()[-2000:]}")
        try:
            if httpx.get(f"{url}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"demo: {url} was not ready after {START_SECONDS} s; look into {log.parent / 'logs'}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
