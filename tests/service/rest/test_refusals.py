"""Bad input: each is refused as problem+json with a stable code, the place and the remedy; nothing is stored.

What every face refuses alike stands in tests/service/refusals.py; here is what only HTTP can get wrong, and files.
"""

import io
import json
import stat
import zipfile
from typing import Any

import pytest
from httpx import Response
from PIL import Image

from service.operations.attempts import Attempts
from tests.service.refusals import REFUSALS, Refusal
from tests.service.rest.calls import GOOD, KEY, Gateway, asked

BODIES: dict[str, tuple[bytes, str, int, str]] = {
    # what is wrong: (body, content type, status, code)
    "nothing": (b"", "application/json", 422, "invalid_json"),
    "not JSON": (b"{'base_model': 'shapes'}", "application/json", 422, "invalid_json"),
    "cut off": (json.dumps(GOOD).encode()[:-1], "application/json", 422, "invalid_json"),
    "two objects": (json.dumps(GOOD).encode() * 2, "application/json", 422, "invalid_json"),
    "a name twice": (b'{"steps": 1, "steps": 2}', "application/json", 422, "invalid_json"),
    "not UTF-8": (b'{"base_model": "\xff"}', "application/json", 422, "invalid_json"),
    "a list": (b"[]", "application/json", 422, "invalid_request"),
    "null": (b"null", "application/json", 422, "invalid_request"),
    "nested without end": (b"[" * 100_000, "application/json", 422, "invalid_json"),
    "a form": (b"base_model=shapes", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    "plain text (what another site's page can send)": (
        json.dumps(GOOD).encode(),
        "text/plain",
        415,
        "unsupported_media_type",
    ),
    "too large": (b" " * (8 * 2**20 + 1), "application/json", 413, "too_large"),
}


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return buffer.getvalue()


def link(name: str, to: bytes) -> bytes:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(entry, to)
    return buffer.getvalue()


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    return buffer.getvalue()


FILES: dict[str, tuple[str, bytes, str]] = {
    # what is wrong: (name, content, remedy begins with)
    "empty": ("a.txt", b"", "write one prompt a line"),
    "blank": ("a.txt", b" \n\n", "write one prompt a line"),
    "a picture": ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0", "upload UTF-8 text, JSONL, or a zip archive"),
    "Latin-1": ("a.txt", "ein grüner Kreis".encode("latin-1"), "upload UTF-8 text, JSONL, or a zip archive"),
    "an over-long prompt": ("a.txt", b"x" * 2001, "give each prompt 1 to 2000 printable characters"),
    "JSONL without a prompt": ("a.jsonl", b'{"prompt": "a"}\n{"text": "b"}', "write one object a line, with a text"),
    "JSONL that breaks off": ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "b', "write one object a line: {"),
    "JSONL that calls itself text": ("a.txt", b'{"prompt": "a"}', "give it the ending of what it is"),
    "text that calls itself a zip": ("a.zip", b"a red circle", "give it the ending of what it is"),
    "a zip of nothing": ("a.zip", archive(), ""),
    "a zip of captions alone": ("a.zip", archive(**{"a.txt": b"a red circle"}), "put PNG, JPEG or WebP files in it"),
    "a zip with a picture without its caption": ("a.zip", archive(**{"a.png": picture()}), "write it into a.txt"),
    "a zip with a path upwards": ("a.zip", archive(**{"../a.png": picture()}), "use names without .."),
    "a zip with an absolute path": ("a.zip", archive(**{"/a.png": picture()}), "use names without .."),
    "a zip with a link": ("a.zip", link("a.txt", b"/etc/passwd"), "put the files themselves into it"),
    "a zip cut off": ("a.zip", archive(**{"a.txt": b"x" * 100})[:-30], "make it again with an ordinary zip tool"),
}


def assert_problem(answer: Response, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    assert problem["status"] == status
    assert problem["type"] == f"urn:strop:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    return problem


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_whatever_every_face_refuses(gateway: Gateway, attempts: Attempts, refusal: Refusal) -> None:
    problem = assert_problem(asked(gateway, attempts, refusal), refusal.status, refusal.code)
    places = {each["path"]: each for each in problem["errors"]}
    assert bool(places) == bool(refusal.path)
    if refusal.path:
        assert refusal.path in places, problem["errors"]
        assert places[refusal.path]["message"]
        assert places[refusal.path]["remedy"].startswith(refusal.remedy), places[refusal.path]


class TestJobs:
    @pytest.mark.parametrize(("body", "content_type", "status", "code"), BODIES.values(), ids=BODIES)
    def test_are_refused_whole(self, gateway: Gateway, body: bytes, content_type: str, status: int, code: str) -> None:
        assert_problem(gateway.post_raw(body, content_type), status, code)
        assert gateway.job_count() == 0

    def test_are_refused_in_every_place_at_once(self, gateway: Gateway) -> None:
        answer = gateway.post_job({"steps": 0, "seed": -1, "lora": {"rank": 999}, "nonsense": 1})
        assert {each["path"] for each in answer.json()["errors"]} == {"steps", "seed", "lora.rank", "nonsense"}

    def test_naming_pictures_as_prompts_are_refused(self, gateway: Gateway) -> None:
        file = gateway.post_file(archive(**{"a.png": picture(), "a.txt": b"a red circle"}), "pictures.zip")
        assert file.status_code == 201, file.text
        answer = gateway.post_job({"prompts": ..., "prompts_file": file.json()["id"]})
        assert assert_problem(answer, 422, "wrong_file_kind")["errors"][0]["path"] == "prompts_file"


class TestFiles:
    @pytest.mark.parametrize(("name", "content", "remedy"), FILES.values(), ids=FILES)
    def test_that_are_not_what_they_say_are_refused(
        self, gateway: Gateway, name: str, content: bytes, remedy: str
    ) -> None:
        problem = assert_problem(gateway.post_file(content, name), 422, "invalid_file")
        assert problem["errors"][0]["path"] == "file"
        assert problem["errors"][0]["remedy"].startswith(remedy)

    def test_beyond_64_mib_are_refused(self, gateway: Gateway) -> None:
        assert_problem(gateway.post_file(b"a red circle\n" * (64 * 2**20 // 13 + 1)), 413, "too_large")

    def test_that_are_no_form_are_refused(self, gateway: Gateway) -> None:
        assert_problem(gateway.client.post("/files", content=b"a red circle"), 415, "unsupported_media_type")

    def test_under_another_name_are_refused(self, gateway: Gateway) -> None:
        answer = gateway.client.post("/files", files={"upload": ("a.txt", b"a red circle")})
        assert assert_problem(answer, 422, "invalid_request")["errors"][0]["path"] == "file"

    def test_in_a_broken_form_are_refused(self, gateway: Gateway) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = gateway.client.post("/files", content=b"--y\r\nnonsense", headers=headers)
        assert answer.status_code in (400, 422)
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_no_key_stands_in_any_answer(gateway: Gateway) -> None:
    assert KEY not in gateway.get("/jobs").text + gateway.get("/openapi.json").text
