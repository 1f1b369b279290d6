"""What `jobs.create` makes of a file's JSON is what curl makes of it, or both refuse it."""

from typing import Any

import httpx
import pytest
import strop

from tests.sdk.conftest import GOOD, Gateway
from tests.service.running import KEY

GUARDED = GOOD | {"method": {"type": "sharpening-sft"}}


def posted(gateway: Gateway, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{gateway.url}/jobs", json=body, headers={"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize(
    "said", [{}, {"validation": None}, {"validation": {}}, {"validation": {"every": 0}}, {"validation": {"every": 5}}], ids=str
)  # fmt: skip
@pytest.mark.parametrize("body", [GOOD, GUARDED], ids=["unguarded", "guarded"])
def test_a_validation_is_the_one_that_curl_gets(
    gateway: Gateway, client: strop.Client, body: dict[str, Any], said: dict[str, Any]
) -> None:
    by_curl = posted(gateway, body | said).json()["recipe"]
    assert client.jobs.create(**body, **said).recipe["validation"] == by_curl["validation"]
    if "validation" in said and said["validation"] is None:
        assert by_curl["validation"] is None


@pytest.mark.parametrize(
    ("changes", "path"),
    [({"prompts": []}, "prompts"), ({"lora": {"targets": []}}, "lora.targets"), ({"prompts": None}, "prompts")],
    ids=str,
)
def test_what_curl_is_refused_is_refused_here(
    gateway: Gateway, client: strop.Client, changes: dict[str, Any], path: str
) -> None:
    refused = posted(gateway, GOOD | changes)
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, path)
    with pytest.raises(strop.InvalidRequest) as caught:
        client.jobs.create(**{**GOOD, **changes})
    assert caught.value.errors[0].path == path
