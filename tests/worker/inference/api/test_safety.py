"""The operator's safety checker: asked before anything is given out, and nothing is given out without its word."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from starlette.testclient import TestClient

from service.settings import Settings
from tests.worker.inference.api.test_streams import events
from tests.worker.inference.calls import post
from tests.worker.inference.conftest import KEY
from worker.inference.app import create_app

Checked = Callable[[str], TestClient]


@pytest.fixture
def checked(settings: Settings) -> Iterator[Checked]:
    """The endpoint with a checker of checkers.py."""
    with ExitStack() as stack:

        def opened(name: str) -> TestClient:
            given = settings.model_copy(update={"safety_checker": f"tests.worker.inference.checkers:{name}"})
            client = stack.enter_context(TestClient(create_app(given)))
            client.headers["Authorization"] = f"Bearer {KEY}"
            return client

        yield opened


def test_what_passes_is_given_out_and_said_so(checked: Checked, shared: TestClient) -> None:
    answer, plain = post(checked("all_pass"), n=2, batch_size=2).json(), post(shared, n=2, batch_size=2).json()
    assert (answer["safety"], plain["safety"]) == ("passed", "off")
    assert answer["data"] == plain["data"]


def test_every_event_of_a_stream_says_so(checked: Checked, shared: TestClient) -> None:
    for client, state in ((checked("all_pass"), "passed"), (shared, "off")):
        told = events(post(client, stream=True, partial_images=1).text)
        assert [(name.rpartition(".")[2], data["safety"]) for name, data in told] == [
            ("partial_image", state), ("completed", state),
        ]  # fmt: skip


def test_what_is_withheld_has_no_bytes_anywhere(checked: Checked) -> None:
    client = checked("second_is_withheld")
    answer = post(client, n=2).json()
    assert answer["safety"] == "withheld"
    first, second = answer["data"]
    assert first["withheld"] is None
    assert first["b64_json"]
    assert second["withheld"] == "a red circle is too much"
    assert second["b64_json"] is second["url"] is None
    linked = post(client, n=2, response_format="url").json()["data"]
    assert [each["url"] is None for each in linked] == [False, True]


def test_previews_and_events_are_withheld_too(checked: Checked) -> None:
    text = post(checked("second_is_withheld"), n=2, stream=True, partial_images=2, num_inference_steps=6).text
    told = [data for _, data in events(text)]
    assert [(each["type"], bool(each["b64_json"]), each["withheld"]) for each in told] == [
        ("image_generation.completed", True, None),
        ("image_generation.completed", False, "a red circle is too much"),
    ]


@pytest.mark.parametrize("name", ["fails", "loses_one"])
def test_a_checker_that_fails_gives_nothing_out_and_stops_nothing(checked: Checked, name: str) -> None:
    client = checked(name)
    for _ in range(2):
        answer = post(client)
        assert (answer.status_code, answer.json()["code"]) == (503, "safety_failed")
    assert json.loads(client.get("/readyz").text) == {"status": "ok"}


@pytest.mark.parametrize("name", ["nothing:here", "tests.worker.inference.checkers:nobody", "os:sep"])
def test_one_that_is_not_there_ends_the_process(settings: Settings, name: str) -> None:
    with pytest.raises(SystemExit, match=f"STROP_SAFETY_CHECKER: {name}"):
        create_app(settings.model_copy(update={"safety_checker": name}))
