"""Settings of the environment reach the engine that the endpoint draws with."""

import pytest
from starlette.testclient import TestClient

from service.domain.principals import LOCAL
from service.settings import Settings
from worker.inference.app import create_app
from worker.inference.engine.invariant import BatchInvariant
from worker.inference.engine.served import Served


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (16, 32, True, False)),
        (
            {"STROP_SLOTS": "3", "STROP_SLOT_RANK": "5", "STROP_SLOT_CONV": "false", "STROP_BATCH_INVARIANT": "1"},
            (3, 5, False, True),
        ),
    ],
)
def test_slots_their_rank_and_batch_invariance_are_the_environments(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    expected: tuple[int, int, bool, bool],
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    def seen(served: Served) -> tuple[int, int, bool, bool]:
        slots = served.slots
        return slots.count, slots.rank, slots.conv, isinstance(served._arithmetic, BatchInvariant)

    app = create_app()
    with TestClient(app):
        images = app.state.endpoint.images
        assert images.engine.exclusively(images.names.resolve(LOCAL, "tiny").base, seen).result(60) == expected
