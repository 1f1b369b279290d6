"""Pictures as server-sent events: the order they come in, what fails on the way, and nothing drawn for who is gone."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from service.settings import Settings
from tests.worker import tiny_families
from tests.worker.inference.calls import GENERATIONS, GOOD, distance, pixels, post, served
from tests.worker.inference.conftest import KEY, Deliver
from tests.worker.inference.slow import Held
from worker.inference.api import streams
from worker.inference.app import create_app

PARTIAL, COMPLETED = "image_generation.partial_image", "image_generation.completed"


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, data) of each event of a stream."""
    parts = [part.split("\n") for part in text.split("\n\n") if part and not part.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


@pytest.mark.parametrize(("n", "previews"), [(1, 0), (1, 3), (2, 1)])
def test_previews_come_before_the_pictures(shared: TestClient, n: int, previews: int) -> None:
    answer = post(shared, n=n, batch_size=2, stream=True, partial_images=previews, num_inference_steps=6)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    assert [name for name, _ in told] == [PARTIAL] * (n * previews) + [COMPLETED] * n
    for index in range(n):
        mine = [data for name, data in told if name == PARTIAL and data["image_index"] == index]
        assert [each["partial_image_index"] for each in mine] == list(range(previews))
        assert all(pixels(each["b64_json"]).shape == (64, 64, 3) for each in mine)


def test_the_pictures_are_those_of_an_answer_without_stream(shared: TestClient) -> None:
    asked: dict[str, Any] = {"n": 2, "batch_size": 2, "num_inference_steps": 6}
    plain = post(shared, **asked).json()
    streamed = [data for _, data in events(post(shared, **asked, stream=True, partial_images=2).text)][-2:]
    for one, other in zip(streamed, plain["data"], strict=True):
        assert (one["b64_json"], one["seed"], one["steps"]) == (other["b64_json"], other["seed"], other["steps"])
    assert {name: streamed[0]["usage"][name] for name in plain["usage"]} == plain["usage"]


def test_previews_come_nearer_to_the_picture(shared: TestClient) -> None:
    told = [data for _, data in events(post(shared, stream=True, partial_images=3, num_inference_steps=12).text)]
    *previews, last = [pixels(each["b64_json"]) for each in told]
    distances = [abs(each.astype(int) - last).mean() for each in previews]
    assert distances == sorted(distances, reverse=True)
    assert distance(previews[-1], last) > 0


def test_previews_are_by_the_small_decoder_that_the_catalogue_names(
    settings: Settings, shared: TestClient, tmp_path: Path
) -> None:
    with settings.catalogue.open("a") as catalogue:
        catalogue.write(f'preview_decoder = "{tiny_families.preview_decoder(tmp_path / "small")}"\n')
    with TestClient(create_app(settings), headers={"Authorization": f"Bearer {KEY}"}) as client:
        small, large = (
            [data["b64_json"] for _, data in events(post(each, stream=True, partial_images=1).text)]
            for each in (client, shared)
        )
    assert distance(pixels(small[0]), pixels(large[0])) > 0
    assert small[1:] == large[1:], "the picture itself is the large one's"


def test_a_refusal_before_the_first_event_has_its_status(shared: TestClient) -> None:
    answer = post(shared, stream=True, model="nothing")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_model")


def test_a_failure_on_the_way_is_an_event(endpoint: TestClient, deliver: Deliver) -> None:
    reference = deliver(b"not a safetensors file")
    ((name, data),) = events(post(endpoint, stream=True, model=reference).text)
    assert (name, data["type"], data["error"]["code"]) == ("error", "error", "adapter_corrupt")
    assert reference in data["error"]["message"]
    assert data["problem"]["status"] == 409


def test_while_nothing_comes_the_line_is_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    monkeypatch.setattr("worker.inference.app.load", held.load)
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.01)
    asked = {"headers": {"Authorization": f"Bearer {KEY}"}, "json": {**GOOD, "stream": True}}
    with served(create_app(settings)) as url, held, httpx.stream("POST", url + GENERATIONS, **asked) as answer:  # type: ignore[arg-type]
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": still drawing", ""] * 2
        held.gate.set()
        assert f"event: {COMPLETED}" in list(lines)
