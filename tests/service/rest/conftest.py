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
from tests.service.running import settings_of


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return settings_of(sqlite_url, tmp_path, monkeypatch)


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
