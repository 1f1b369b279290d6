"""`client.images` against an endpoint that says what a test tells it: streams, asynchronous requests, other formats."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import strop
from strop.records import Drawing, Image, Preview

from tests.sdk.servers import Http, Reply, http_server

GENERATIONS, REQUESTS = "/v1/images/generations", "/v1/images/requests/drawing_1"
JPEG = b"\xff\xd8 and more"
B64 = base64.b64encode(JPEG).decode()
ANSWER = {
    "data": [{"b64_json": B64, "seed": 7, "steps": "4x9"}, {"b64_json": None, "seed": 8, "withheld": "too red"}],
    "model": "red@1", "output_format": "jpeg", "safety": "withheld", "usage": {"nfe_per_image": 20.0}, "warnings": [],
}  # fmt: skip
PREVIEW = {
    "type": "image_generation.partial_image", "b64_json": B64, "image_index": 1, "partial_image_index": 2,
    "output_format": "jpeg",
}  # fmt: skip
COMPLETED = {
    "type": "image_generation.completed", "b64_json": B64, "seed": 7, "steps": "1x9", "model": "red@1",
    "output_format": "jpeg", "usage": {"nfe_per_image": 9.0}, "safety": "passed",
}  # fmt: skip
PROBLEM = {"status": 409, "code": "adapter_corrupt", "detail": "The adapter red@1 is damaged.", "errors": []}


def of_events(*events: dict[str, Any]) -> Reply:
    text = ": still drawing\n\n" + "".join(f"event: x\ndata: {json.dumps(each)}\n\n" for each in events)
    return Reply(body=text.encode(), headers={"Content-Type": "text/event-stream"})


def drawing(status: str, **more: Any) -> Reply:
    progress = {"step": 3, "steps": 9}
    return Reply(body={"id": "drawing_1", "object": "image.request", "status": status, "progress": progress, **more})


@pytest.fixture
def http() -> Iterator[Http]:
    with http_server({}) as http:
        yield http


@pytest.fixture
def client(http: Http) -> Iterator[strop.Client]:
    with strop.Client(inference_url=http.url, api_key="secret") as client:
        yield client


def test_every_field_travels_by_its_name(http: Http, client: strop.Client) -> None:
    http.script[GENERATIONS] = [Reply(body=ANSWER)]
    fields: dict[str, Any] = {
        "seed": 7, "num_inference_steps": 9, "guidance_scale": 2.0, "negative_prompt": "blue", "scheduler": "euler",
        "batch_size": 4, "output_format": "jpeg", "output_compression": 80,
    }  # fmt: skip
    client.images.generate("red", "a", 2, **fields, adapters={"x": 0.5})
    client.images.generate("red", "a", adapters=["x", "y@1"])
    first, second = (json.loads(body) for _, _, body in http.requests)
    same = {"model": "red", "prompt": "a", "response_format": "b64_json"}
    assert first == {**same, "n": 2, **fields, "adapters": [{"name": "x", "weight": 0.5}]}
    assert second == {**same, "n": 1, "adapters": [{"name": "x", "weight": 1.0}, {"name": "y@1", "weight": 1.0}]}


def test_a_picture_says_its_format_and_why_it_was_withheld(http: Http, client: strop.Client) -> None:
    http.script[GENERATIONS] = [Reply(body=ANSWER)]
    given, withheld = client.images.generate("red", "a", 2)
    assert (given.data, given.format, given.steps, given.withheld) == (JPEG, "jpeg", "4x9", None)
    assert (withheld.data, withheld.withheld, withheld.safety) == (b"", "too red", "withheld")
    with pytest.raises(ValueError, match="the picture is a jpeg"):
        _ = given.png


def test_a_stream_gives_previews_and_pictures(http: Http, client: strop.Client) -> None:
    http.script[GENERATIONS] = [of_events(PREVIEW, COMPLETED)]
    preview, picture = client.images.stream("red", "a", partial_images=1)
    assert preview == Preview(JPEG, index=1, number=2, format="jpeg")
    assert isinstance(picture, Image)
    assert (picture.data, picture.nfe, picture.steps) == (JPEG, 9.0, "1x9")
    assert json.loads(http.requests[0][2])["partial_images"] == 1


def test_a_stream_that_fails_on_the_way_raises_what_failed(http: Http, client: strop.Client) -> None:
    http.script[GENERATIONS] = [of_events(PREVIEW, {"type": "error", "error": {}, "problem": PROBLEM})]
    stream = client.images.stream("red", "a")
    assert isinstance(next(stream), Preview)
    with pytest.raises(strop.Conflict, match=r"red@1 is damaged") as caught:
        next(stream)
    assert caught.value.code == "adapter_corrupt"


def test_a_stream_is_asked_for_again_only_where_it_had_not_begun(http: Http, client: strop.Client) -> None:
    busy = Reply(429, {"code": "queue_full", "detail": "full"}, {"Retry-After": "0"})
    http.script[GENERATIONS] = [busy, of_events(COMPLETED)]
    assert len(list(client.images.stream("red", "a"))) == 1
    http.script[GENERATIONS] = [Reply(body=of_events(COMPLETED).body, cut=True)]
    with pytest.raises(strop.Unavailable):
        list(client.images.stream("red", "a"))
    assert http.seen(GENERATIONS) == 3


def test_an_asynchronous_request_is_started_waited_for_and_cancelled(http: Http, client: strop.Client) -> None:
    http.script[GENERATIONS] = [Reply(202, drawing("queued").body)]
    http.script[REQUESTS] = [drawing("in_progress"), drawing("completed", result=ANSWER)]
    started = client.images.start("red", "a")
    assert (started.status, started.ended, started.step, started.steps) == ("queued", False, 3, 9)
    assert json.loads(http.requests[0][2])["background"] is True
    assert [each.seed for each in client.images.wait(started.id)] == [7, 8]
    assert http.seen(REQUESTS) == 2
    assert client.images.cancel(started.id).ended


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (drawing("failed", error={"code": "adapter_corrupt", "message": "damaged"}), "adapter_corrupt"),
        (drawing("cancelled"), "cancelled"),
    ],
)
def test_waiting_for_what_came_to_nothing_says_why(http: Http, client: strop.Client, reply: Reply, code: str) -> None:
    http.script[REQUESTS] = [reply]
    with pytest.raises(strop.StropError) as caught:
        client.images.wait("drawing_1")
    assert caught.value.code == code


def test_waiting_has_an_end(http: Http, client: strop.Client) -> None:
    http.script[REQUESTS] = [drawing("queued")]
    with pytest.raises(TimeoutError, match="drawing_1 is queued after 0 s"):
        client.images.wait("drawing_1", timeout=0)
    assert isinstance(client.images.get("drawing_1"), Drawing)
