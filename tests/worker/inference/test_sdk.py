"""`client.images` of the SDK against the real endpoint."""

from collections.abc import Iterator

import pytest
import strop
from starlette.testclient import TestClient

from tests.worker.inference.calls import distance, pixels, post, served
from tests.worker.inference.conftest import KEY


@pytest.fixture
def client(shared: TestClient) -> Iterator[strop.Client]:
    with (
        served(shared.app, lifespan="off") as url,  # type: ignore[arg-type]
        strop.Client(inference_url=url, api_key=KEY) as client,
    ):
        yield client


def test_draws_at_once_as_it_comes_and_later(client: strop.Client, shared: TestClient) -> None:
    asked = {"seed": 7, "batch_size": 1, "scheduler": "ddim", "num_inference_steps": 6}
    expected = pixels(post(shared, **asked).json()["data"][0]["b64_json"])
    (image,) = client.images.generate("tiny", "a red circle", **asked)  # type: ignore[arg-type]
    assert (image.nfe, image.steps, image.safety, image.model) == (12, "1x6", "off", "tiny")
    *previews, last = client.images.stream("tiny", "a red circle", partial_images=2, **asked)  # type: ignore[arg-type]
    assert [type(each) for each in previews] == [strop.Preview] * 2
    assert isinstance(last, strop.Image)
    started = client.images.start("tiny", "a red circle", **asked)  # type: ignore[arg-type]
    (later,) = client.images.wait(started.id, timeout=30)
    assert [distance(pixels(each.png), expected) for each in (image, last, later)] == [0, 0, 0]
    assert client.images.cancel(started.id).status == "completed"


def test_raises_what_is_refused(client: strop.Client) -> None:
    with pytest.raises(strop.InvalidRequest) as caught:
        client.images.generate("tiny", "a", adapters={"nothing": 0.5})
    assert [each.path for each in caught.value.errors] == ["adapters.0.name"]
    with pytest.raises(strop.NotFound):
        client.images.get("drawing_0")
