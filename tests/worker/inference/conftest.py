"""The real endpoint on a tiny base model, over SQLite and a folder store; adapters come there as jobs make them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.adapters import catalogue, db, queue, storage
from service.domain.artifacts import Kind
from service.domain.offers import Offers
from service.domain.principals import LOCAL
from service.domain.recipes import JobRequest
from service.domain.rewards import JpegCompressibilityReward
from service.operations.attempts import Attempts
from service.operations.jobs import Jobs
from service.settings import Settings
from tests.worker.inference.slow import Held
from worker.inference.app import create_app

KEY = "a-key-of-sixteen"
CATALOGUE = """
[bases.tiny]
source = "{folder}"
family = "sd"
resolution = 64
num_inference_steps = 3
guidance_scale = 2.0
"""

Deliver = Callable[[bytes], str]


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path, sd_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "catalogue.toml").write_text(CATALOGUE.format(folder=sd_folder))
    monkeypatch.setenv("STROP_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("STROP_CATALOGUE", str(tmp_path / "catalogue.toml"))
    monkeypatch.setenv("STROP_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("STROP_API_KEY", KEY)
    monkeypatch.setenv("STROP_DEVICE", "cpu")
    return Settings()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Base models that load from now on are held."""
    held = Held()
    monkeypatch.setattr("worker.inference.app.load", held.load)
    return held


@pytest.fixture(scope="module")
def shared(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, sd_folder: Path) -> Iterator[TestClient]:
    """One endpoint for all tests of a file that leave nothing behind."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "strop.db").write_bytes(sqlite_template.read_bytes())
    (folder / "catalogue.toml").write_text(CATALOGUE.format(folder=sd_folder))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STROP_STATE_DIR", str(folder))
        environment.setenv("STROP_CATALOGUE", str(folder / "catalogue.toml"))
        environment.setenv("STROP_API_KEY", KEY)
        environment.setenv("STROP_DEVICE", "cpu")
        app = create_app(Settings())
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield client


@pytest.fixture
def endpoint(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield client


@pytest.fixture
def deliver(settings: Settings, tmp_path: Path) -> Iterator[Deliver]:
    """Let a job succeed with these bytes as the next version of the adapter red-things; returns its reference."""
    database, store = db.connect(settings.database_url), storage.make(settings.store_url)
    jobs = Jobs(database, queue.Doorbell(settings.broker_url), catalogue.load(settings.catalogue), store)
    attempts = Attempts(database, store)

    def delivered(data: bytes) -> str:
        reward = JpegCompressibilityReward(type="jpeg-compressibility")
        request = JobRequest(base_model="tiny", prompts=("red",), reward=reward, adapter_name="red-things")
        jobs.submit(LOCAL, request)
        claim = attempts.claim("w1", None, Offers(frozenset({"sd"}), frozenset({reward.type})))
        assert claim is not None
        file = tmp_path / "adapter.safetensors"
        file.write_bytes(data)
        attempts.keep(claim.job.id, claim.job.fence, 1, Kind.ADAPTER, file.name, file)
        done = attempts.succeed(claim.job.id, claim.job.fence, training_nfe=1, training_fe=1.0, code_version="test")
        assert done.adapter is not None
        return done.adapter

    yield delivered
    database.close()
