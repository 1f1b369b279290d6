"""Bad input, as a table: each is refused as problem+json with a stable code, the place and the remedy; nothing is stored."""

import io
import json
import stat
import zipfile
from typing import Any

import pytest
from httpx import Response
from PIL import Image

from tests.service.rest.calls import GOOD, KEY, Gateway

METHOD = {"type": "sharpening-rlhf"}
CLIP = {"type": "clip", "model": "shapes-clip"}

JOBS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # what is wrong: (change, code, path, remedy begins with)
    "an unknown field": ({"epochs": 3}, "invalid_request", "epochs", "remove it; known here: base_model"),
    "an unknown field, nearly right": ({"promts": ["x"]}, "invalid_request", "promts", "remove it, or did you mean prompts?"),
    "an unknown hyper-parameter": ({"method": {**METHOD, "m": 2}}, "invalid_request", "method.m", "remove it"),
    "no base model": ({"base_model": ...}, "invalid_request", "base_model", "add it: Name of a base model"),
    "no reward": ({"reward": ...}, "invalid_request", "reward", "add it: What is searched for"),
    "no prompts": ({"prompts": ...}, "invalid_request", "prompts", "give either prompts or prompts_file"),
    "an empty list of prompts": ({"prompts": []}, "invalid_request", "prompts", "send 1 to 100000 of them"),
    "an empty prompt": ({"prompts": ["a red circle", ""]}, "invalid_request", "prompts.1", "send 1 to 2000 characters"),
    "a blank prompt": ({"prompts": [" \t\n"]}, "invalid_request", "prompts.0", "send 1 to 2000 characters"),
    "an over-long prompt": ({"prompts": ["x" * 2001]}, "invalid_request", "prompts.0", "send 1 to 2000 characters"),
    "a prompt with control characters": ({"prompts": ["a\x1b[31mb"]}, "invalid_prompt", "prompts.0", "write what the picture"),
    "a prompt that is a number": ({"prompts": [3]}, "invalid_request", "prompts.0", "send a string"),
    "a prompt where a list belongs": ({"prompts": "a red circle"}, "invalid_request", "prompts", "send an array"),
    "both prompts and a file": ({"prompts_file": "file_" + "0" * 26}, "invalid_request", "prompts", "give either prompts"),
    "an unknown file": (
        {"prompts": ..., "prompts_file": "file_" + "0" * 26},
        "unknown_file",
        "prompts_file",
        "upload it first: POST /files",
    ),
    "a path for a file": (
        {"prompts": ..., "prompts_file": "/etc/passwd"},
        "invalid_request",
        "prompts_file",
        "use the id that POST /files gave",
    ),
    "a URL for a file": (
        {"prompts": ..., "prompts_file": "http://127.0.0.1/x"},
        "invalid_request",
        "prompts_file",
        "use the id that POST /files gave",
    ),
    "an unknown base model": ({"base_model": "sd3"}, "unknown_base_model", "base_model", "use one of the operator's catalogue: shapes"),
    "a path for a base model": ({"base_model": "/models/sd15"}, "unknown_base_model", "base_model", "use one of"),
    "a path upwards for a base model": ({"base_model": "../base"}, "unknown_base_model", "base_model", "use one of"),
    "a URL for a base model": ({"base_model": "https://evil.example/m"}, "unknown_base_model", "base_model", "use one of"),
    "a hub id for a base model": ({"base_model": "stabilityai/sdxl"}, "unknown_base_model", "base_model", "use one of"),
    "a reward model for a base model": ({"base_model": "shapes-clip"}, "unknown_base_model", "base_model", "use one of"),
    "an unknown reward": ({"reward": {"type": "beauty"}}, "invalid_request", "reward.type", "choose one of clip"),
    "a reward without a type": ({"reward": {"model": "shapes-clip"}}, "invalid_request", "reward.type", "choose one of clip"),
    "a reward as a word": ({"reward": "clip"}, "invalid_request", "reward", "send an object"),
    "a reward without its model": ({"reward": {"type": "clip"}}, "invalid_request", "reward.model", "add it"),
    "an unknown reward model": (
        {"reward": {"type": "clip", "model": "clip-big"}},
        "unknown_reward_model",
        "reward.model",
        "use one of the operator's catalogue: shapes-clip",
    ),
    "a path for a reward model": ({"reward": {"type": "clip", "model": "../clip"}}, "unknown_reward_model", "reward.model", "use one of"),
    "a parameter of another reward": ({"reward": {**CLIP, "quality": 5}}, "invalid_request", "reward.quality", "remove it"),
    "a prompt that is no scene": (
        {"reward": {"type": "scene"}, "prompts": ["a red circle", "a cat"]},
        "prompt_not_a_scene",
        "prompts.1",
        "write ",
    ),
    "an unknown method": ({"method": {"type": "ppo"}}, "invalid_request", "method.type", "choose sharpening-rlhf"),
    "too few candidates": ({"method": {**METHOD, "candidates": 1}}, "invalid_request", "method.candidates", "send a whole number, 2 or more"),
    "too many candidates": ({"method": {**METHOD, "candidates": 65}}, "invalid_request", "method.candidates", "send a whole number, 2 or more"),
    "half a candidate": ({"method": {**METHOD, "candidates": 2.5}}, "invalid_request", "method.candidates", "send a whole number"),
    "a learning rate of 0": ({"method": {**METHOD, "learning_rate": 0}}, "invalid_request", "method.learning_rate", "send a number, more than 0"),
    "a negative beta": ({"method": {**METHOD, "beta": -1}}, "invalid_request", "method.beta", "beta must be"),
    "a trajectory longer than its rollout": (
        {"method": {**METHOD, "trajectory_length": 11}},
        "invalid_request",
        "method.trajectory_length",
        "a rollout has one state per step",
    ),
    "a rank of 0": ({"lora": {"rank": 0}}, "invalid_request", "lora.rank", "send a whole number, 1 or more and at most 256"),
    "an unknown target": ({"lora": {"targets": ["to_q"]}}, "invalid_request", "lora.targets.0", "choose attention, feed-forward or conv"),
    "no target": ({"lora": {"targets": []}}, "invalid_request", "lora.targets", "send 1 to 3 of them"),
    "no steps": ({"steps": 0}, "invalid_request", "steps", "send a whole number, 1 or more"),
    "steps as text": ({"steps": "60"}, "invalid_request", "steps", "send a whole number"),
    "steps as truth": ({"steps": True}, "invalid_request", "steps", "send a whole number"),
    "a negative seed": ({"seed": -1}, "invalid_request", "seed", "send a whole number, 0 or more"),
    "a seed beyond 63 bits": ({"seed": 2**63}, "invalid_request", "seed", "send a whole number, 0 or more"),
    "a priority beyond 10": ({"priority": 11}, "invalid_request", "priority", "send a whole number, -10 or more and at most 10"),
    "an unknown dtype": ({"dtype": "int4"}, "invalid_request", "dtype", "choose auto, fp32, bf16 or fp16"),
    "a base model's name for the adapter": ({"adapter_name": "shapes"}, "adapter_name_taken", "adapter_name", "choose another name"),
    "a path for the adapter's name": ({"adapter_name": "../x"}, "invalid_request", "adapter_name", "use 1 to 64 lower-case letters"),
    "a version in the adapter's name": ({"adapter_name": "red@2"}, "invalid_request", "adapter_name", "use 1 to 64 lower-case letters"),
    "metadata of numbers": ({"metadata": {"a": 1}}, "invalid_request", "metadata.a", "send a string"),
    "too much metadata": ({"metadata": {str(n): "" for n in range(17)}}, "invalid_request", "metadata", "send at most 16 of them"),
    "NUL in a text": ({"metadata": {"a": "x\0y"}}, "invalid_json", "metadata.a", "remove it"),
    "half a surrogate pair": ({"prompts": ["\ud83d"]}, "invalid_json", "prompts.0", "remove it"),
    "NaN": ({"method": {**METHOD, "beta": float("nan")}}, "invalid_json", "method.beta", "send a finite number"),
    "Infinity": ({"method": {**METHOD, "learning_rate": float("inf")}}, "invalid_json", "method.learning_rate", "send a finite number"),
}  # fmt: skip

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


class TestJobs:
    @pytest.mark.parametrize(("change", "code", "path", "remedy"), JOBS.values(), ids=JOBS)
    def test_are_refused_by_place(
        self, gateway: Gateway, change: dict[str, Any], code: str, path: str, remedy: str
    ) -> None:
        problem = assert_problem(gateway.post_job(change), 422, code)
        places = {each["path"]: each for each in problem["errors"]}
        assert path in places, problem["errors"]
        assert places[path]["message"]
        assert places[path]["remedy"].startswith(remedy), places[path]
        assert gateway.job_count() == 0

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

    @pytest.mark.parametrize("key", ["", "x" * 256, "a b"])
    def test_with_an_unfit_idempotency_key_are_refused(self, gateway: Gateway, key: str) -> None:
        answer = gateway.post_job(idempotency_key=key)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == "Idempotency-Key"
        assert gateway.job_count() == 0


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
