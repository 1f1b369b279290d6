"""A steward's signing, over a world."""

from collections.abc import Callable

import pytest

from service.adapters import keys
from service.operations.receipts import Receipts
from service.operations.signing import Signing
from tests.service.receipts import PlannedMeasurer
from tests.service.world import World


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> keys.SigningKey:
    return keys.generate(tmp_path_factory.mktemp("keys") / "key.pem")


def receipts_of(world: World) -> Receipts:
    return Receipts(world.database, world.store)


@pytest.fixture
def receipts(world: World) -> Receipts:
    return receipts_of(world)


Steward = Callable[..., Signing]


@pytest.fixture
def steward(world: World, key: keys.SigningKey) -> Steward:
    def made(measurer: PlannedMeasurer | None = None, **words: object) -> Signing:
        return Signing(world.database, world.store, measurer or PlannedMeasurer(receipts_of(world)), key, **words)  # type: ignore[arg-type]

    return made
