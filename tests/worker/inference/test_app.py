"""Settings of the environment reach the engine that the endpoint draws with."""

import pytest
from starlette.testclient import TestClient

from service.domain.principals import LOCAL
from service.settings import Settings, load
from worker.inference.app import create_app
from worker.inference.engine.invariant import BatchInvariant
from worker.inference.engine.served import Served


class TestPlacesOfBases:
    @pytest.mark.parametrize(
        ("given", "places"),
        [({}, 2), ({"STROP_WARM_BASES": "a,b,c"}, 3), ({"STROP_LOADED_BASES": "1"}, 1),
         ({"STROP_LOADED_BASES": "4", "STROP_WARM_BASES": "a"}, 4)],
    )  # fmt: skip
    def test_are_two_or_as_many_as_are_warm_unless_said(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], places: int
    ) -> None:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        assert Settings().places() == places

    def test_fewer_than_are_to_be_warm_end_the_process(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("STROP_WARM_BASES", "a,b")
        monkeypatch.setenv("STROP_LOADED_BASES", "1")
        with pytest.raises(SystemExit):
            load()
        assert (
            "STROP_WARM_BASES names 2 base models, and STROP_LOADED_BASES lets 1 be loaded" in capsys.readouterr().err
        )

    def test_and_the_queues_length_reach_the_engine(self, settings: Settings) -> None:
        app = create_app(settings.model_copy(update={"loaded_bases": 3, "max_waiting": 5}))
        engine = app.state.endpoint.engine
        with TestClient(app):
            assert (engine._resident._most, engine._most_waiting) == (3, 5)


def test_a_gpu_that_is_named_and_not_there_ends_the_process(settings: Settings) -> None:
    """Rather than be ready and answer every request with 503."""
    with pytest.raises(SystemExit, match=r"strop: STROP_DEVICE is cuda:99, .* see to the driver"):
        create_app(settings.model_copy(update={"device": "cuda:99"}))


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
