"""The images API by HTTP: OpenAI's client, plain diffusers' pictures, refusals with remedies, and parts that are away."""

import base64
import io
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import uvicorn
from httpx import Response
from PIL import Image
from starlette.testclient import TestClient

from service.domain.catalogue import BaseModelEntry
from service.domain.principals import LOCAL
from service.settings import Settings
from tests.worker.inference.conftest import KEY, Deliver
from tests.worker.inference.pictures import plain, random_adapter
from worker.inference.app import create_app
from worker.inference.engine import WAITING
from worker.inference.images import Images
from worker.inference.requests import Draw
from worker.models.family import Family
from worker.models.load import load

GOOD = {"model": "tiny", "prompt": "a red circle", "seed": 7}


def post(endpoint: TestClient, **change: Any) -> Response:
    return endpoint.post("/v1/images/generations", json={**GOOD, **change})


def pixels(b64_json: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64_json))))


def assert_equal_pictures(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape == (64, 64, 3)
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


@pytest.fixture
def base(sd_folder: Path) -> BaseModelEntry:
    return BaseModelEntry(name="tiny", source=str(sd_folder), family="sd", resolution=64)


def plain_draw(base: BaseModelEntry, data: bytes | None = None, **change: Any) -> np.ndarray:
    return plain(Path(base.source), data, **change)


class TestGenerations:
    def test_answer_in_openais_shape_with_what_it_cost(self, endpoint: TestClient) -> None:
        answer = post(endpoint, n=3).json()
        assert answer.keys() == {"created", "data", "model", "size", "output_format", "usage", "warnings"}
        assert [each["seed"] for each in answer["data"]] == [7, 8, 9]
        assert answer["usage"] == {"images": 3, "nfe": 18, "nfe_per_image": 6.0, "steps": "4x3"}
        assert (answer["model"], answer["size"]) == ("tiny", "64x64")

    def test_are_plain_diffusers_pictures(self, endpoint: TestClient, base: BaseModelEntry) -> None:
        answer = post(endpoint).json()
        assert_equal_pictures(pixels(answer["data"][0]["b64_json"]), plain_draw(base))

    def test_take_steps_guidance_and_negative_prompt(self, endpoint: TestClient, base: BaseModelEntry) -> None:
        answer = post(endpoint, num_inference_steps=5, guidance_scale=1.5, negative_prompt="blue").json()
        expected = plain_draw(base, steps=5, guidance=1.5, negative="blue")
        assert_equal_pictures(pixels(answer["data"][0]["b64_json"]), expected)
        assert answer["usage"]["nfe"] == 10

    def test_with_an_adapter_are_plain_diffusers_pictures_too(
        self, endpoint: TestClient, base: BaseModelEntry, sd_folder: Path, deliver: Deliver
    ) -> None:
        versions = [random_adapter(sd_folder, seed) for seed in (0, 1)]
        assert [deliver(data) for data in versions] == ["red-things@1", "red-things@2"]
        for name, data in (("red-things@1", versions[0]), ("red-things@2", versions[1]), ("red-things", versions[1])):
            answer = post(endpoint, model=name).json()
            assert_equal_pictures(pixels(answer["data"][0]["b64_json"]), plain_draw(base, data))
            assert answer["usage"]["nfe"] == 6
            assert answer["model"] == (name if "@" in name else "red-things@2")

    def test_of_the_same_request_are_the_same_bytes(self, endpoint: TestClient) -> None:
        assert post(endpoint, n=2).json()["data"] == post(endpoint, n=2).json()["data"]

    def test_without_a_seed_tell_the_one_that_was_drawn(self, endpoint: TestClient) -> None:
        answer = post(endpoint, seed=None).json()["data"][0]
        again = post(endpoint, seed=answer["seed"]).json()["data"][0]
        assert again == answer

    def test_say_what_the_encoder_does_not_see(self, endpoint: TestClient) -> None:
        assert post(endpoint).json()["warnings"] == []
        assert "will not see" in post(endpoint, prompt="a red circle left of a blue square").json()["warnings"][0]


REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # what is wrong: (change, code, path, remedy begins with)
    "an unknown model": ({"model": "sdxl"}, "unknown_model", "model", "use a name that GET /v1/models lists"),
    "a path for a model": ({"model": "../tiny"}, "unknown_model", "model", "use a name"),
    "a URL for a model": ({"model": "https://evil.example/m"}, "unknown_model", "model", "use a name"),
    "a version of a base": ({"model": "tiny@1"}, "unknown_model", "model", "use a name"),
    "an empty prompt": ({"prompt": ""}, "invalid_request", "prompt", "send 1 to 2000 characters"),
    "an over-long prompt": ({"prompt": "x" * 2001}, "invalid_request", "prompt", "send 1 to 2000 characters"),
    "too many pictures": ({"n": 11}, "invalid_request", "n", "send a whole number, 1 or more and at most 10"),
    "another size": ({"size": "512x512"}, "unsupported_size", "size", "send 64x64, or leave size out"),
    "a size in words": ({"size": "large"}, "invalid_request", "size", "match the pattern"),
    "links": ({"response_format": "url"}, "invalid_request", "response_format", "choose b64_json"),
    "another format": ({"output_format": "webp"}, "invalid_request", "output_format", "choose png"),
    "a negative seed": ({"seed": -1}, "invalid_request", "seed", "send a whole number, 0 or more"),
    "no steps": (
        {"num_inference_steps": 0},
        "invalid_request",
        "num_inference_steps",
        "send a whole number, 1 or more",
    ),
    "guidance below 1": ({"guidance_scale": 0.5}, "invalid_request", "guidance_scale", "send a number, 1"),
    "an unknown field": ({"quality": "hd"}, "invalid_request", "quality", "remove it; known here: model, prompt"),
}


class TestRefusals:
    @pytest.mark.parametrize(("change", "code", "path", "remedy"), REFUSED.values(), ids=REFUSED)
    def test_name_the_place_and_the_remedy(
        self, endpoint: TestClient, change: dict[str, Any], code: str, path: str, remedy: str
    ) -> None:
        answer = post(endpoint, **change)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, code)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert problem["errors"][0]["path"] == path
        assert problem["errors"][0]["remedy"].startswith(remedy)

    def test_of_a_damaged_adapter_name_it_and_stop_nothing(
        self, endpoint: TestClient, deliver: Deliver, sd_folder: Path, tmp_path: Path
    ) -> None:
        reference = deliver(random_adapter(sd_folder, 0))
        (file,) = (tmp_path / "store").rglob("adapter.safetensors")
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        answer = post(endpoint, model="red-things")
        assert (answer.status_code, answer.json()["code"]) == (409, "adapter_corrupt")
        assert reference in answer.json()["detail"]
        assert post(endpoint).status_code == 200

    def test_of_what_is_no_adapter_name_it_and_stop_nothing(self, endpoint: TestClient, deliver: Deliver) -> None:
        reference = deliver(b"not a safetensors file")
        answer = post(endpoint, model=reference)
        assert (answer.status_code, answer.json()["code"]) == (409, "adapter_corrupt")
        assert reference in answer.json()["detail"]
        assert post(endpoint).status_code == 200


class TestKey:
    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/v1/images/generations"), ("GET", "/v1/models"), ("GET", "/x")]
    )
    def test_is_needed(self, endpoint: TestClient, method: str, path: str) -> None:
        answer = endpoint.request(method, path, headers={"Authorization": "Bearer wrong"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")

    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_is_not_asked_for_health(self, endpoint: TestClient, path: str) -> None:
        assert endpoint.get(path, headers={"Authorization": ""}).json() == {"status": "ok"}


class TestModels:
    def test_are_bases_and_versions(self, endpoint: TestClient, deliver: Deliver, sd_folder: Path) -> None:
        deliver(random_adapter(sd_folder, 0))
        listed = endpoint.get("/v1/models").json()
        assert listed["object"] == "list"
        assert [each["id"] for each in listed["data"]] == ["tiny", "red-things@1"]


class TestQueue:
    def test_when_full_answers_429_and_when_to_come_back(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entered, leave = threading.Event(), threading.Event()

        def slow(*given: Any, **named: Any) -> Family:
            entered.set()
            leave.wait()
            return load(*given, **named)

        monkeypatch.setattr("worker.inference.app.load", slow)
        with TestClient(create_app(settings)) as endpoint, ThreadPoolExecutor() as others:
            endpoint.headers["Authorization"] = f"Bearer {KEY}"
            images = endpoint.app.state.images  # type: ignore[attr-defined]
            first = others.submit(post, endpoint)
            entered.wait()
            waiting = [images.engine.submit(draw_of(images)) for _ in range(WAITING)]
            refused = post(endpoint)
            assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
            assert int(refused.headers["Retry-After"]) >= 1
            leave.set()
            assert first.result().status_code == 200
            assert [each.result().nfe for each in waiting] == [6] * WAITING


def draw_of(images: Images) -> Draw:
    return Draw("local", images.names.resolve(LOCAL, "tiny").base, (), "a red circle", "", 1, 7, 3, 2.0)


class TestWithoutTheDatabase:
    def test_what_was_resolved_is_served_on(
        self, settings: Settings, deliver: Deliver, sd_folder: Path, tmp_path: Path
    ) -> None:
        deliver(random_adapter(sd_folder, 0))
        with TestClient(create_app(settings)) as endpoint:
            endpoint.headers["Authorization"] = f"Bearer {KEY}"
            before = post(endpoint, model="red-things").json()
            take_away(tmp_path, endpoint)
            after = post(endpoint, model="red-things").json()
            assert (after["data"], after["model"]) == (before["data"], "red-things@1")
            assert post(endpoint).status_code == 200
            assert endpoint.get("/readyz").status_code == 200
            assert {each["id"] for each in endpoint.get("/v1/models").json()["data"]} == {"tiny", "red-things@1"}
            unseen = post(endpoint, model="blue-things")
            assert (unseen.status_code, unseen.json()["code"]) == (503, "unavailable")


def take_away(folder: Path, endpoint: TestClient) -> None:
    """The database's file becomes a folder, which no connection can open; the open ones are closed."""
    endpoint.app.state.images.names._models._database.close()  # type: ignore[attr-defined]
    for file in folder.glob("strop.db*"):
        file.unlink()
    (folder / "strop.db").mkdir()


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The endpoint on a port of this machine; yields its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


class TestOpenAIClient:
    def test_works_unchanged(self, settings: Settings, base: BaseModelEntry) -> None:
        with served(settings) as url, openai.OpenAI(base_url=url, api_key=KEY) as client:
            assert [each.id for each in client.models.list()] == ["tiny"]
            answer = client.images.generate(
                model="tiny",
                prompt="a red circle",
                n=2,
                size="64x64",  # type: ignore[arg-type]
                response_format="b64_json",
                output_format="png",
                user="somebody",
                extra_body={"seed": 7, "num_inference_steps": 3, "guidance_scale": 2.0},
            )
            assert answer.data is not None
            assert_equal_pictures(pixels(str(answer.data[0].b64_json)), plain_draw(base))
            assert_equal_pictures(pixels(str(answer.data[1].b64_json)), plain_draw(base, seed=8))

    def test_gets_our_refusals_as_its_errors(self, settings: Settings) -> None:
        with served(settings) as url, openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            with pytest.raises(openai.UnprocessableEntityError) as caught:
                client.images.generate(model="dall-e-3", prompt="x")
            assert caught.value.code == "unknown_model"
            assert caught.value.body["errors"][0]["path"] == "model"  # type: ignore[index]
            with pytest.raises(openai.AuthenticationError):
                client.with_options(api_key="wrong").models.list()
