"""The images API by HTTP: OpenAI's answer and ours beside it, formats, and links that end."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from annotated_types import MaxLen
from PIL import Image
from pydantic.fields import FieldInfo
from starlette.testclient import TestClient

from service.domain.adapters import MAX_REFERENCE
from service.domain.principals import LOCAL
from service.wire.links import Links, secret
from tests.worker.inference.calls import GENERATIONS, GOOD, distance, pixels, post
from tests.worker.inference.conftest import KEY
from worker.inference.api.encode import encode
from worker.inference.api.giving import FILES
from worker.inference.api.shapes import MAX_BODY, Format, ImageRequest

SMILE = "\U0001f600"
"""Twelve bytes where it is escaped."""
PUBLIC = {"Authorization": ""}


def longest(field: FieldInfo) -> int | None:
    """The bound of a string."""
    if "str" not in str(field.annotation):
        return None
    return next((each.max_length for each in field.metadata if isinstance(each, MaxLen)), None)


class TestAnswer:
    def test_is_openais_with_what_it_cost(self, shared: TestClient) -> None:
        answer = post(shared, n=3, batch_size=4).json()
        assert answer.keys() == {
            "created", "data", "model", "adapters", "size", "output_format", "background", "safety", "usage",
            "warnings", "expires_at",
        }  # fmt: skip
        assert [(each["seed"], each["steps"]) for each in answer["data"]] == [(7, "4x3"), (8, "4x3"), (9, "4x3")]
        cost = {name: answer["usage"][name] for name in ("images", "nfe", "nfe_per_image", "total_tokens")}
        assert cost == {"images": 3, "nfe": 18, "nfe_per_image": 6.0, "total_tokens": 0}
        told = {name: answer[name] for name in ("model", "adapters", "size", "safety", "expires_at", "warnings")}
        assert told == {
            "model": "tiny", "adapters": [], "size": "64x64", "safety": "off", "expires_at": None, "warnings": [],
        }  # fmt: skip

    def test_of_the_same_request_is_the_same_bytes(self, shared: TestClient) -> None:
        asked: dict[str, Any] = {"n": 2, "batch_size": 2}
        assert post(shared, **asked).json()["data"] == post(shared, **asked).json()["data"]

    def test_comes_for_the_longest_request_that_is_documented_and_no_larger_body_is_read(
        self, shared: TestClient
    ) -> None:
        """Every string at its bound in JSON's longest spelling: names of nobody, so that it is refused for them alone."""
        bounds = {name: longest(field) for name, field in ImageRequest.model_fields.items()}
        strings = {name: SMILE * most for name, most in bounds.items() if most}
        assert strings.keys() == {"model", "prompt", "negative_prompt", "user", "safety_identifier"}
        adapter = {"name": SMILE * MAX_REFERENCE, "weight": -3.1415926535897931}
        body = json.dumps({**GOOD, **strings, "adapters": [adapter] * 8})
        assert len(body) < MAX_BODY
        answer = shared.post(GENERATIONS, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_model")
        body = json.dumps({**GOOD, "prompt": "x" * MAX_BODY})
        answer = shared.post(GENERATIONS, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert "larger than 128 KiB" in answer.json()["detail"]

    def test_without_a_seed_tells_the_one_that_was_drawn(self, shared: TestClient) -> None:
        answer = post(shared, seed=None).json()["data"][0]
        assert post(shared, seed=answer["seed"]).json()["data"][0] == answer

    def test_says_what_the_encoder_does_not_see(self, shared: TestClient) -> None:
        assert "will not see" in post(shared, prompt="a red circle left of a blue square").json()["warnings"][0]

    @pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpmpp-2m"])
    def test_comes_from_the_scheduler_that_was_named(self, shared: TestClient, scheduler: str) -> None:
        answer = post(shared, scheduler=scheduler, num_inference_steps=4).json()
        ours = post(shared, num_inference_steps=4).json()
        assert answer["usage"]["nfe"] == 8
        assert (answer["data"] == ours["data"]) == (scheduler == "ddim")

    @pytest.mark.parametrize(
        "fields",
        [
            {"quality": "auto", "background": "auto", "moderation": "auto", "user": "me", "safety_identifier": "me"},
            {"quality": "standard", "background": "opaque", "moderation": "low", "size": "auto", "n": 1},
            {"size": None, "n": None, "stream": None, "quality": None, "background": None, "style": None},
            {"background": False, "partial_images": 0, "response_format": "b64_json", "output_format": "png"},
        ],
    )
    def test_is_the_same_with_openais_fields_that_say_nothing_here(
        self, shared: TestClient, fields: dict[str, Any]
    ) -> None:
        assert post(shared, **fields).json()["data"] == post(shared).json()["data"]


class TestFormats:
    @pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
    def test_hold_the_picture(self, shared: TestClient, format: str) -> None:
        plain = pixels(post(shared).json()["data"][0]["b64_json"])
        answer = post(shared, output_format=format).json()
        assert answer["output_format"] == format
        off = np.abs(pixels(answer["data"][0]["b64_json"]).astype(int) - plain).mean()
        assert off <= {"png": 0, "jpeg": 2, "webp": 12}[format]  # webp halves the resolution of colours, here noise

    @pytest.mark.parametrize("format", ["jpeg", "webp"])
    def test_are_smaller_where_less_quality_is_asked_for(self, shared: TestClient, format: str) -> None:
        sizes = [
            len(post(shared, output_format=format, output_compression=each).json()["data"][0]["b64_json"])
            for each in (0, 50, 100)
        ]
        assert sizes == sorted(set(sizes))

    @pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
    def test_are_the_ones_that_they_say(self, format: Format) -> None:
        with Image.open(io.BytesIO(encode(np.zeros((8, 8, 3), np.uint8), format))) as image:
            assert str(image.format).lower() == format


class TestLinks:
    def test_open_without_the_key_until_they_expire(self, shared: TestClient) -> None:
        answer = post(shared, n=2, batch_size=2, response_format="url").json()
        inside = post(shared, n=2, batch_size=2).json()
        left = datetime.fromisoformat(answer["expires_at"]) - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1)
        for linked, held in zip(answer["data"], inside["data"], strict=True):
            assert linked["b64_json"] is None
            got = shared.get(linked["url"], headers=PUBLIC)
            assert (got.status_code, got.headers["content-type"]) == (200, "image/png")
            assert distance(pixels(got.content), pixels(held["b64_json"])) == 0
            assert shared.head(linked["url"], headers=PUBLIC).status_code == 200

    def test_with_the_key_need_no_token(self, shared: TestClient) -> None:
        url = post(shared, response_format="url", output_format="webp").json()["data"][0]["url"]
        got = shared.get(url.split("?")[0])
        assert (got.status_code, got.headers["content-type"]) == (200, "image/webp")
        assert shared.get(url.split("?")[0], headers=PUBLIC).status_code == 401

    def test_that_were_changed_open_nothing(self, shared: TestClient) -> None:
        first, second = (post(shared, response_format="url").json()["data"][0]["url"] for _ in range(2))
        path, token = first.split("?")
        expiry, rest = token.removeprefix("token=").split(".", 1)
        other = second.split("?")[0]
        for changed in (f"{path}?token={int(expiry) + 1}.{rest}", f"{other}?{token}", f"{path}?token=x"):
            got = shared.get(changed, headers=PUBLIC)
            assert (got.status_code, got.json()["code"]) == (403, "link_invalid")

    def test_that_expired_are_gone(self, shared: TestClient) -> None:
        path = (
            post(shared, response_format="url")
            .json()["data"][0]["url"]
            .split("?")[0]
            .removeprefix(str(shared.base_url))
        )
        long_ago = Links(secret(None, KEY), lambda: datetime(2026, 1, 1, tzinfo=UTC))
        got = shared.get(f"{path}?token={long_ago.token(LOCAL, path)[0]}", headers=PUBLIC)
        assert (got.status_code, got.json()["code"]) == (410, "link_expired")

    @pytest.mark.parametrize("name", ["picture_" + 26 * "0" + ".png", "picture_x.png", "..%2Fx.png", "x"])
    def test_to_what_is_not_there_are_404(self, shared: TestClient, name: str) -> None:
        got = shared.get(FILES + name)
        assert (got.status_code, got.headers["content-type"]) == (404, "application/problem+json")
        assert got.json()["code"] in ("not_found", "route_not_found")


class TestModels:
    def test_one_by_its_name(self, shared: TestClient) -> None:
        assert shared.get("/v1/models/tiny").json() == {
            "id": "tiny", "object": "model", "created": 0, "owned_by": "catalogue",
        }  # fmt: skip

    @pytest.mark.parametrize("name", ["nothing", "tiny@1", "no such"])
    def test_one_that_is_not_there_is_404(self, shared: TestClient, name: str) -> None:
        got = shared.get(f"/v1/models/{name}")
        assert (got.status_code, got.json()["code"]) == (404, "not_found")
