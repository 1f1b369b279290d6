"""The endpoint as a process of its own, for tests; it has the settings of the environment."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import httpx

from tests.servers.processes import answers, running

ROOT = Path(__file__).parents[3]


@contextmanager
def endpoint(port: int, log: Path, **environment: str) -> Iterator[Popen[bytes]]:
    """Ready, with its base model warm. Killed at the end, whatever it does."""
    words = [sys.executable, "-m", "uvicorn", "--factory", "worker.inference.app:create_app", "--port", str(port)]
    with running(
        words,
        ready=lambda: answers(port) and httpx.get(f"http://127.0.0.1:{port}/readyz").is_success,
        log=log,
        end=signal.SIGKILL,
        remedy="see its log",
        seconds=60,
        cwd=ROOT,
        env={**os.environ, "STROP_WARM_BASES": "tiny", **environment},
    ) as process:
        yield process
