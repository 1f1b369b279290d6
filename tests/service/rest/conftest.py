"""The real gateway over SQLite and a folder, by HTTP; and a worker's verbs, to bring its jobs along."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.adapters import db, storage
from service.app import create_app
from service.operations.attempts import Attempts
from service.settings import Settings
from tests.service.rest.calls import KEY, Gateway

CATALOGUE = """
[bases.shapes]
source = "base"
family = "sd"
resolution = 64
num_inference_steps = 10
guidance_scale = 2.0
licence = "Apache-2.0"

[rewards.shapes-clip]
source = "clip"
type = "clip"
"""


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "catalogue.toml").write_text(CATALOGUE)
    monkeypatch.setenv("STROP_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("STROP_CATALOGUE", str(tmp_path / "catalogue.toml"))
    monkeypatch.setenv("STROP_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("STROP_API_KEY", KEY)
    monkeypatch.setenv("STROP_GRPC_PORT", "0")
    return Settings()


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield Gateway(client)


@pytest.fixture
def attempts(settings: Settings) -> Iterator[Attempts]:
    database = db.connect(settings.database_url)
    yield Attempts(database, storage.make(settings.store_url))
    database.close()
