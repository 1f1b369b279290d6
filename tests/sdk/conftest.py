"""The real gateway as a process of its own, and a worker's verbs to bring its jobs along."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import strop

from service.adapters import db, storage
from service.domain.artifacts import Kind
from service.domain.jobs import Job, JobError, Progress
from service.domain.offers import Offers
from service.operations.attempts import Attempts
from tests.servers.processes import free_port, running
from tests.service.running import CATALOGUE, KEY

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "base_model": "shapes",
    "prompts": ["a red circle left of a blue square"],
    "reward": {"type": "clip", "model": "shapes-clip"},
}


class Gateway:
    """`uvicorn service.app:create_app`; started again, it listens where it did."""

    def __init__(self, folder: Path, database_url: str) -> None:
        (folder / "catalogue.toml").write_text(CATALOGUE)
        self._folder, self._port, self._stops = folder, free_port(), ExitStack()
        self.url = f"http://127.0.0.1:{self._port}"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("STROP_")} | {
            "STROP_STATE_DIR": str(folder), "STROP_CATALOGUE": str(folder / "catalogue.toml"), "STROP_API_KEY": KEY,
            "STROP_DATABASE_URL": database_url, "STROP_GRPC_PORT": str(free_port()), "STROP_PORT": str(self._port),
        }  # fmt: skip
        self.database = db.connect(database_url)
        self.store = storage.make(f"file://{folder / 'store'}")
        self.worker = Attempts(self.database, self.store, backoff_seconds=0)

    def start(self) -> None:
        words = [sys.executable, "-m", "uvicorn", "--factory", "--port", str(self._port), "service.app:create_app"]
        self._stops.enter_context(
            running(
                words, ready=self._ready, log=self._folder / "gateway.log", end=signal.SIGTERM,
                remedy="look into its log", env=self._environment, cwd=ROOT,
            )
        )  # fmt: skip

    def stop(self) -> None:
        self._stops.close()

    def begun(self, client: strop.Client, **changes: Any) -> "Run":
        """A job that an attempt has just begun: the one of highest priority that waits."""
        return self.begin(client.jobs.create(**{**GOOD, "priority": 10, **changes}).id)

    def begin(self, job: str) -> "Run":
        """An attempt begins it: nothing may wait before it."""
        claim = self.worker.claim("w1", "cpu", Offers(frozenset({"sd"}), frozenset({"clip"})))
        assert claim is not None
        assert claim.job.id == job
        return Run(self, claim.job)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@dataclass(frozen=True)
class Run:
    """What the worker does to one job."""

    gateway: Gateway
    job: Job

    @property
    def id(self) -> str:
        return self.job.id

    def step(self, step: int, reward: float = 0.25) -> None:
        progress = Progress(step, 60, reward, 8 * step, 9.5 * step, 60.0 - step)
        data = {"reward": {"mean": reward}, "loss": 0.5}
        self.gateway.worker.record(self.job.id, self.job.fence, step, "job.step", data, progress=progress)

    def checkpoint(self, folder: Path, *steps: int) -> None:
        for step in steps:
            path = folder / f"checkpoint-{step}"
            path.write_text(f"state at {step}")
            self.gateway.worker.keep(self.job.id, self.job.fence, step, Kind.CHECKPOINT, path.name, path)

    def certify(self, found_sha256: str) -> None:
        self.gateway.worker.certify(
            self.job.id, self.job.fence, found_sha256=found_sha256, training_nfe=80, training_fe=95.5
        )

    def pause(self) -> None:
        """As a worker does that was asked to."""
        self.gateway.worker.stopped(self.job.id, self.job.fence, "paused")

    def succeed(self, folder: Path) -> bytes:
        """With an adapter of these bytes."""
        weights = folder / "weights"
        weights.write_bytes(content := os.urandom(200_000))
        self.gateway.worker.keep(self.job.id, self.job.fence, 60, Kind.ADAPTER, "adapter.safetensors", weights)
        self.gateway.worker.succeed(
            self.job.id, self.job.fence, training_nfe=800, training_fe=960.5, code_version="test"
        )
        return content

    def fail(self) -> None:
        error = JobError("base_unloadable", "the base model cannot be loaded")
        self.gateway.worker.fail(self.job.id, self.job.fence, error, cause="failed", retry=False)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    path = folder / "strop.db"
    path.write_bytes(sqlite_template.read_bytes())
    gateway = Gateway(folder, f"sqlite:///{path}")
    gateway.start()
    yield gateway
    gateway.stop()
    gateway.database.close()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[strop.Client]:
    with strop.Client(gateway.url, KEY) as client:
        yield client
