"""Adapters by HTTP: plain diffusers' pictures, several at once with weights, damaged ones, and names without the database."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from starlette.testclient import TestClient

from service.adapters import db, storage
from service.domain.adapters import AliasRequest
from service.domain.principals import LOCAL
from service.operations.adapters import Adapters
from service.settings import Settings
from tests.worker.inference.calls import distance, pixels, post
from tests.worker.inference.conftest import KEY, Deliver
from tests.worker.inference.pictures import plain, random_adapter
from worker.inference.app import create_app

ROUNDING = 1


def drawn(endpoint: TestClient, **change: Any) -> np.ndarray:
    answer = post(endpoint, **change)
    assert answer.status_code == 200, answer.text
    return pixels(answer.json()["data"][0]["b64_json"])


class TestPictures:
    def test_are_plain_diffusers(self, shared: TestClient, sd_folder: Path) -> None:
        assert distance(drawn(shared), plain(sd_folder)) <= ROUNDING
        asked: dict[str, Any] = {"num_inference_steps": 5, "guidance_scale": 1.5, "negative_prompt": "blue"}
        expected = plain(sd_folder, steps=5, guidance=1.5, negative="blue")
        assert distance(drawn(shared, **asked), expected) <= ROUNDING

    def test_with_an_adapter_are_plain_diffusers_too(
        self, endpoint: TestClient, settings: Settings, sd_folder: Path, deliver: Deliver
    ) -> None:
        versions = [random_adapter(sd_folder, seed) for seed in (0, 1)]
        assert [deliver(data) for data in versions] == ["red-things@1", "red-things@2"]
        database = db.connect(settings.database_url)
        adapters = Adapters(database, storage.make(settings.store_url))
        adapters.put_alias(LOCAL, "red-things", "stable", AliasRequest(version=1))
        database.close()
        expected = [plain(sd_folder, data) for data in versions]
        named = {"red-things@1": 1, "red-things@2": 2, "red-things": 2, "red-things@stable": 1}
        for name, number in named.items():
            answer = post(endpoint, model=name).json()
            picture = pixels(answer["data"][0]["b64_json"])
            assert distance(picture, expected[number - 1]) <= ROUNDING
            assert (answer["model"], answer["adapters"]) == (f"red-things@{number}", [f"red-things@{number}"])
            assert answer["usage"]["nfe"] == 6
        listed = [each["id"] for each in endpoint.get("/v1/models").json()["data"]]
        assert sorted(listed) == ["red-things@1", "red-things@2", "red-things@stable", "tiny"]
        assert endpoint.get("/v1/models/red-things@stable").json()["owned_by"] == "local"

    def test_with_several_adapters_wear_them_all(self, endpoint: TestClient, sd_folder: Path, deliver: Deliver) -> None:
        one, other = (deliver(random_adapter(sd_folder, seed)) for seed in (0, 1))
        alone = drawn(endpoint, model=one)
        assert distance(drawn(endpoint, adapters=[{"name": one}]), alone) == 0
        assert distance(drawn(endpoint, adapters=[{"name": one, "weight": 0}]), drawn(endpoint)) <= ROUNDING
        answer = post(endpoint, model=one, adapters=[{"name": other, "weight": 0.5}]).json()
        assert (answer["model"], answer["adapters"]) == (one, [one, f"{other} × 0.5"])
        assert distance(pixels(answer["data"][0]["b64_json"]), alone) > ROUNDING
        swapped = drawn(endpoint, adapters=[{"name": other, "weight": 0.5}, {"name": one}])
        assert distance(swapped, pixels(answer["data"][0]["b64_json"])) <= ROUNDING


@pytest.mark.parametrize(
    ("adapters", "code", "path"),
    [
        ([{"name": "nothing"}], "unknown_model", "adapters.0.name"),
        ([{"name": "tiny"}], "not_an_adapter", "adapters.0.name"),
        ([{"name": "red-things@1"}, {"name": "red-things@1"}], "adapter_twice", "adapters.1.name"),
    ],
)
def test_adapters_that_will_not_do_are_refused_at_their_place(
    endpoint: TestClient, deliver: Deliver, adapters: list[dict[str, Any]], code: str, path: str
) -> None:
    deliver(b"whatever is in it")
    problem = post(endpoint, adapters=adapters).json()
    assert (problem["status"], problem["code"], problem["error"]["param"]) == (422, code, path)


def test_adapters_that_do_not_fit_into_a_slot_together_are_refused_with_the_remedy(
    settings: Settings, deliver: Deliver, sd_folder: Path
) -> None:
    references = [deliver(random_adapter(sd_folder, seed)) for seed in (0, 1)]
    with TestClient(create_app(settings.model_copy(update={"slot_rank": 4}))) as endpoint:
        endpoint.headers["Authorization"] = f"Bearer {KEY}"
        assert [post(endpoint, model=each).status_code for each in references] == [200, 200]
        answer = post(endpoint, adapters=[{"name": each} for each in references])
        assert (answer.status_code, answer.json()["code"]) == (422, "adapter_refused")
        assert all(each in answer.json()["error"]["message"] for each in references)
        assert answer.json()["errors"][0]["remedy"]


def test_adapters_of_convolutions_are_refused_where_the_operator_serves_none(
    settings: Settings, deliver: Deliver, sd_folder: Path
) -> None:
    reference = deliver(random_adapter(sd_folder, 0))
    with TestClient(create_app(settings.model_copy(update={"slot_conv": False}))) as endpoint:
        endpoint.headers["Authorization"] = f"Bearer {KEY}"
        answer = post(endpoint, model=reference)
        assert (answer.status_code, answer.json()["code"]) == (422, "adapter_refused")
        assert "STROP_SLOT_CONV" in answer.json()["error"]["message"]


class TestOverflow:
    @pytest.fixture
    def reference(self, deliver: Deliver, sd_folder: Path) -> str:
        tensors = safetensors.torch.load(random_adapter(sd_folder, 0))
        return deliver(safetensors.torch.save({name: each * 1e30 for name, each in tensors.items()}))

    def test_of_the_numbers_is_a_refusal_that_says_what_to_do(self, endpoint: TestClient, reference: str) -> None:
        answer = post(endpoint, model=reference)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["errors"][0]["path"]) == (422, "not_a_number", "adapters")
        assert problem["detail"].startswith(f"adapters: with {reference} the denoiser's numbers overflowed")
        assert problem["error"]["message"].endswith("draw with a smaller weight, or without that adapter")
        assert post(endpoint).status_code == 200

    def test_in_a_stream_is_an_event_that_says_the_same(self, endpoint: TestClient, reference: str) -> None:
        text = post(endpoint, model=reference, stream=True).text
        (line,) = [line for line in text.split("\n") if line.startswith("data: ")]
        told = json.loads(line.removeprefix("data: "))
        assert (told["type"], told["error"]["code"], told["problem"]["status"]) == ("error", "not_a_number", 422)
        assert told["problem"]["detail"].startswith(f"adapters: with {reference} the denoiser's numbers overflowed")


class TestDamaged:
    def test_adapters_are_named_and_stop_nothing(
        self, endpoint: TestClient, deliver: Deliver, sd_folder: Path, tmp_path: Path
    ) -> None:
        reference = deliver(random_adapter(sd_folder, 0))
        (file,) = (tmp_path / "store").rglob("adapter.safetensors")
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        answer = post(endpoint, model="red-things")
        assert (answer.status_code, answer.json()["code"]) == (409, "adapter_corrupt")
        assert reference in answer.json()["detail"]
        assert answer.headers["x-should-retry"] == "false"
        assert post(endpoint).status_code == 200

    def test_ones_fail_alone(self, endpoint: TestClient, deliver: Deliver, sd_folder: Path) -> None:
        expected = drawn(endpoint)
        good, bad = deliver(random_adapter(sd_folder, 0)), deliver(b"not a safetensors file")
        names = ["tiny", bad, good] * 4
        with ThreadPoolExecutor(len(names)) as pool:
            answers = list(pool.map(lambda name: post(endpoint, model=name, batch_size=8), names))
        assert [each.status_code for each in answers] == [200, 409, 200] * 4
        assert all(bad in each.json()["detail"] for each in answers[1::3])
        for each in answers[::3]:
            assert distance(pixels(each.json()["data"][0]["b64_json"]), expected) <= ROUNDING


def test_without_the_database_what_was_resolved_is_served_on(
    settings: Settings, deliver: Deliver, sd_folder: Path, tmp_path: Path
) -> None:
    deliver(random_adapter(sd_folder, 0))
    with TestClient(create_app(settings)) as endpoint:
        endpoint.headers["Authorization"] = f"Bearer {KEY}"
        before = post(endpoint, model="red-things").json()["data"]
        take_away(tmp_path, endpoint)
        assert post(endpoint, model="red-things").json()["data"] == before
        assert post(endpoint).status_code == 200
        assert "red-things@1" in [each["id"] for each in endpoint.get("/v1/models").json()["data"]]
        refused = post(endpoint, model="other-things")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert endpoint.get("/readyz").status_code == 200


def take_away(folder: Path, endpoint: TestClient) -> None:
    """The database's file becomes a folder, which no connection can open; the open ones are closed."""
    endpoint.app.state.endpoint.images.names._models._database.close()  # type: ignore[attr-defined]
    for file in folder.glob("strop.db*"):
        file.unlink()
    (folder / "strop.db").mkdir()
