"""OpenAI's own Python client against the endpoint on a port, with nothing but its base_url and key changed."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent, ImagesResponse
from starlette.testclient import TestClient

from service.settings import Settings
from tests.worker.inference.calls import distance, pixels, post, served
from tests.worker.inference.conftest import KEY
from tests.worker.inference.slow import Held
from worker.inference.app import create_app

OURS: dict[str, Any] = {"seed": 7, "num_inference_steps": 3, "guidance_scale": 2.0, "batch_size": 1}


@pytest.fixture(scope="module")
def address(shared: TestClient) -> Iterator[str]:
    """The same app, on a port."""
    with served(shared.app, lifespan="off") as url:  # type: ignore[arg-type]
        yield f"{url}/v1"


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=address, api_key=KEY, max_retries=0) as opened:
        yield opened


class TestImages:
    def test_come_as_they_are_asked_for(self, client: openai.OpenAI, shared: TestClient) -> None:
        answer = client.images.generate(
            model="tiny",
            prompt="a red circle",
            n=2,
            size="64x64",
            response_format="b64_json",
            output_format="png",
            quality="auto",
            background="opaque",
            moderation="auto",
            user="somebody",
            extra_body=OURS,
        )
        assert answer.data is not None
        for place, image in enumerate(answer.data):
            alone = post(shared, **{**OURS, "seed": 7 + place}).json()["data"][0]["b64_json"]
            assert distance(pixels(str(image.b64_json)), pixels(alone)) == 0
        ImagesResponse.model_validate(answer.to_dict(), strict=True)
        assert answer.usage is not None
        assert answer.usage.to_dict()["nfe_per_image"] == 6

    def test_come_as_links(self, client: openai.OpenAI, shared: TestClient) -> None:
        answer = client.images.generate(
            model="tiny", prompt="a red circle", response_format="url", output_format="jpeg", output_compression=80
        )
        assert answer.data is not None
        assert answer.data[0].url is not None
        path = answer.data[0].url.split("/v1/")[1]
        assert pixels(shared.get(f"/v1/{path}", headers={"Authorization": ""}).content).shape == (64, 64, 3)

    def test_come_as_a_stream(self, client: openai.OpenAI) -> None:
        events = list(
            client.images.generate(
                model="tiny", prompt="a red circle", stream=True, partial_images=2, extra_body={**OURS, "n": 1}
            )
        )
        assert [type(each) for each in events] == [ImageGenPartialImageEvent] * 2 + [ImageGenCompletedEvent]
        for each in events:
            type(each).model_validate(each.to_dict(), strict=True)
            assert pixels(each.b64_json).shape == (64, 64, 3)

    def test_come_to_the_asynchronous_client_too(self, address: str) -> None:
        async def streamed() -> list[str]:
            async with openai.AsyncOpenAI(base_url=address, api_key=KEY) as client:
                stream = await client.images.generate(model="tiny", prompt="a red circle", stream=True)
                return [each.type async for each in stream]

        assert asyncio.run(streamed()) == ["image_generation.completed"]

    def test_come_later(self, client: openai.OpenAI) -> None:
        asked = client.images.with_raw_response.generate(
            model="tiny", prompt="a red circle", extra_headers={"Prefer": "respond-async"}, extra_body=OURS
        )
        assert asked.status_code == 202
        path = asked.headers["Location"].removeprefix("/v1")
        drawing = client.get(path, cast_to=dict[str, Any])
        while drawing["status"] in ("queued", "in_progress"):
            drawing = client.get(path, cast_to=dict[str, Any])
        assert pixels(drawing["result"]["data"][0]["b64_json"]).shape == (64, 64, 3)


class TestModels:
    def test_are_listed_and_retrieved(self, client: openai.OpenAI) -> None:
        (listed,) = client.models.list()
        assert client.models.retrieve("tiny") == listed
        assert (listed.id, listed.object, listed.owned_by) == ("tiny", "model", "catalogue")


class TestErrors:
    def test_show_the_sentence_with_its_remedy(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.UnprocessableEntityError, match="there is no model 'dall-e-3'; use a name") as caught:
            client.images.generate(model="dall-e-3", prompt="x")
        assert (caught.value.code, caught.value.param) == ("unknown_model", "model")
        assert caught.value.type == "invalid_request_error"
        assert caught.value.response.json()["errors"][0]["path"] == "model"

    def test_have_the_class_of_their_status(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.AuthenticationError, match="A valid key is needed"):
            client.with_options(api_key="wrong").models.list()
        with pytest.raises(openai.NotFoundError, match="there is no model 'nothing'"):
            client.models.retrieve("nothing")


def test_a_conflict_is_not_sent_again(settings: Settings, deliver: Any) -> None:
    reference = deliver(b"not a safetensors file")
    app = create_app(settings)
    with served(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
        with pytest.raises(openai.ConflictError, match=reference):
            client.images.generate(model=reference, prompt="x")
        assert (
            app.state.endpoint.metrics.text().count(b'strop_refusals_total{code="adapter_corrupt",status="409"} 1.0')
            == 1
        )


def test_a_full_queue_is_a_rate_limit_that_says_when_to_come_back(settings: Settings, held: Held) -> None:
    with (
        served(create_app(settings)) as url,
        held,
        openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        with pytest.raises(openai.RateLimitError, match="try again after Retry-After seconds") as caught:
            for _ in range(50):
                client.images.generate(model="tiny", prompt="x", extra_body={"background": True})
        assert (caught.value.code, caught.value.type) == ("queue_full", "rate_limit_error")
        assert int(caught.value.response.headers["Retry-After"]) >= 1
