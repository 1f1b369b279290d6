"""The operations over real databases and a folder store; and the real gateway over SQLite, by HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.adapters import db, storage
from service.adapters.db import SqlDatabase
from service.app import create_app
from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.outside import Store
from service.operations.attempts import Attempts
from service.settings import Settings
from tests.service.rest.calls import Gateway
from tests.service.running import KEY, settings_of
from tests.service.world import World


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue(
        bases={"shapes": BaseModelEntry(name="shapes", source="/models/shapes", family="sd", resolution=64)},
        rewards={"shapes-clip": RewardModelEntry(name="shapes-clip", source="/models/clip", type="clip")},
    )


@pytest.fixture
def world(database: SqlDatabase, folder_store: Store, catalogue: Catalogue, tmp_path: Path) -> World:
    return World(database, folder_store, catalogue, tmp_path)


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
    """A worker's verbs, to bring the gateway's jobs along."""
    database = db.connect(settings.database_url)
    yield Attempts(database, storage.make(settings.store_url))
    database.close()
