"""The operations over real databases and a folder store."""

from pathlib import Path

import pytest

from service.adapters.db import SqlDatabase
from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.ports import Store
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
