"""What is refused, with the place and the remedy; whatever is sent is answered, and stops nothing."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from service.domain.errors import StropError, Unavailable
from service.wire import problems
from tests.worker.inference.calls import GENERATIONS, GOOD, post
from worker.inference.api.refusals import STATUSES, respond
from worker.inference.api.shapes import ImageRequest
from worker.inference.engine import requests

REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # what is wrong: (change, code, path, remedy begins with)
    "an unknown model": ({"model": "sdxl"}, "unknown_model", "model", "use a name that GET /v1/models lists"),
    "a path for a model": ({"model": "../tiny"}, "unknown_model", "model", "use a name"),
    "a URL for a model": ({"model": "https://evil.example/m"}, "unknown_model", "model", "use a name"),
    "a version of a base": ({"model": "tiny@1"}, "unknown_model", "model", "use a name"),
    "an empty prompt": ({"prompt": ""}, "invalid_request", "prompt", "send 1 to 2000 characters"),
    "an over-long prompt": ({"prompt": "x" * 2001}, "invalid_request", "prompt", "send 1 to 2000 characters"),
    "no prompt": ({"prompt": None}, "invalid_request", "prompt", "add it: What to draw"),
    "too many pictures": ({"n": 11}, "invalid_request", "n", "send a whole number, 1 or more and at most 10"),
    "another size": ({"size": "512x512"}, "unsupported_size", "size", "send 64x64, or leave size out"),
    "a size in words": ({"size": "large"}, "invalid_request", "size", "match the pattern"),
    "another answer": ({"response_format": "file"}, "invalid_request", "response_format", "choose b64_json or url"),
    "another format": ({"output_format": "gif"}, "invalid_request", "output_format", "choose png, jpeg or webp"),
    "a compressed png": ({"output_compression": 50}, "invalid_request", "output_compression", "leave it out, or ask"),
    "no compression": (
        {"output_compression": 101, "output_format": "webp"}, "invalid_request", "output_compression",
        "send a whole number, 0 or more and at most 100",
    ),
    "previews without a stream": ({"partial_images": 1}, "invalid_request", "partial_images", "send stream true"),
    "too many previews": ({"partial_images": 4, "stream": True}, "invalid_request", "partial_images", "send a whole"),
    "links in a stream": (
        {"stream": True, "response_format": "url"}, "invalid_request", "response_format", "leave it out",
    ),
    "a stream later": ({"stream": True, "background": True}, "invalid_request", "background", "send one of the two"),
    "glass": ({"background": "transparent"}, "invalid_request", "background", "leave it out; pictures are opaque"),
    "quality": ({"quality": "hd"}, "invalid_request", "quality", "leave it out; num_inference_steps says"),
    "style": ({"style": "vivid"}, "invalid_request", "style", "leave it out, and say the style in the prompt"),
    "moderation": ({"moderation": "high"}, "invalid_request", "moderation", "leave it out; whether pictures are"),
    "a negative seed": ({"seed": -1}, "invalid_request", "seed", "send a whole number, 0 or more"),
    "no steps": ({"num_inference_steps": 0}, "invalid_request", "num_inference_steps", "send a whole number, 1 or"),
    "guidance below 1": ({"guidance_scale": 0.5}, "invalid_request", "guidance_scale", "send a number, 1"),
    "an unknown scheduler": ({"scheduler": "heun"}, "invalid_request", "scheduler", "choose ddim, euler"),
    "another family's scheduler": (
        {"scheduler": "flow-euler"}, "unsupported_scheduler", "scheduler", "choose ddim or euler or dpmpp-2m, or leave",
    ),
    "an odd batch": ({"batch_size": 3}, "invalid_request", "batch_size", "choose 1, 2, 4 or 8"),
    "a heavy adapter": (
        {"adapters": [{"name": "x", "weight": 5}]}, "invalid_request", "adapters.0.weight", "send a number, -4 or more",
    ),
    "a nameless adapter": ({"adapters": [{"weight": 1}]}, "invalid_request", "adapters.0.name", "add it"),
    "nine adapters": ({"adapters": [{"name": "x"}] * 9}, "invalid_request", "adapters", "send at most 8 of them"),
    "an unknown field": ({"frame_count": 2}, "invalid_request", "frame_count", "remove it; known here: model, prompt"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "code", "path", "remedy"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_the_place_and_the_remedy(
    shared: TestClient, change: dict[str, Any], code: str, path: str, remedy: str
) -> None:
    answer = post(shared, **change)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["errors"][0]["path"] == path
    assert problem["errors"][0]["remedy"].startswith(remedy)
    first = problem["errors"][0]
    assert problem["error"]["message"].endswith(first["remedy"])
    told = {name: problem["error"][name] for name in ("type", "param", "code")}
    assert told == {"type": "invalid_request_error", "param": path, "code": code}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.sampled_from([-1, 0, 1, 2, 10**6, 2**63, -0.5, 1.5, 1e300]) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
"""No number that would draw for long: 1 to 2 steps and pictures, or out of all bounds."""
FIELDS = st.sampled_from([*ImageRequest.model_fields, "frame_count"])
BODIES = ANYTHING | st.dictionaries(FIELDS, ANYTHING, max_size=4).map(lambda changes: {**GOOD, **changes})


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
def test_whatever_is_sent_is_no_fault_of_ours(shared: TestClient, body: Any) -> None:
    answer = shared.post(GENERATIONS, json=body)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["error"]["message"]


def test_and_after_all_that_a_good_request_is_drawn(shared: TestClient) -> None:
    for bad in (b"", b"{", b"[]", b"\xff", b'{"model": NaN}', b'{"n": 1e999}'):
        assert (
            400 <= shared.post(GENERATIONS, content=bad, headers={"Content-Type": "application/json"}).status_code < 500
        )
    assert post(shared).json()["data"] == post(shared).json()["data"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", GENERATIONS),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("GET", "/v1/images/requests/x"),
        ("GET", "/v1/images/files/x"),
        ("GET", "/x"),
    ],
)
def test_without_the_key_nothing_is_told(shared: TestClient, method: str, path: str) -> None:
    answer = shared.request(method, path, headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="strop"'


def test_every_refusal_of_the_engine_has_the_status_that_its_tree_says() -> None:
    told = dict(re.findall(r"── (\w+) +(\d{3}):", str(requests.__doc__)))
    named = {
        name: kind for name, kind in vars(requests).items() if getattr(kind, "__module__", "") == requests.__name__
    }
    refusals = {name: kind for name, kind in named.items() if isinstance(kind, type) and issubclass(kind, StropError)}
    assert told.keys() == refusals.keys()
    for name, kind in refusals.items():
        answer = problems.from_error(kind(), "r", {**problems.STATUSES, **STATUSES}, respond)
        assert (answer.status_code, name) == (int(told[name]), name)
        assert ("Retry-After" in answer.headers) is issubclass(kind, Unavailable)
        assert json.loads(bytes(answer.body))["error"]["code"] == kind.code != "internal_error"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_public(shared: TestClient, path: str) -> None:
    assert shared.get(path, headers={"Authorization": ""}).json() == {"status": "ok"}
