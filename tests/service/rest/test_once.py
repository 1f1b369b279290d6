"""Idempotency-Key over real HTTP, on both databases: one request under one key is done once, on every POST."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.domain.artifacts import Kind
from service.domain.jobs import JobError
from tests.sdk.conftest import Gateway
from tests.service.rest.calls import GOOD, KEY, OFFERS
from tests.service.world import run_at_once

AT_ONCE = 50
BODY = json.dumps(GOOD).encode()


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[Gateway]:
    """The gateway as a process, and a worker's verbs over its database."""
    gateway = Gateway(tmp_path, database_url)
    gateway.start()
    yield gateway
    gateway.stop()
    gateway.database.close()


@pytest.fixture
def http(served: Gateway) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=AT_ONCE)
    with httpx.Client(
        base_url=served.url, headers={"Authorization": f"Bearer {KEY}"}, limits=limits, timeout=60
    ) as client:
        yield client


def post(http: httpx.Client, path: str, body: bytes = b"", key: str = "k") -> httpx.Response:
    headers = {"Idempotency-Key": key} | ({"Content-Type": "application/json"} if body else {})
    return http.post(path, content=body, headers=headers)


def upload(http: httpx.Client, content: bytes, key: str, name: str = "p.txt") -> httpx.Response:
    return http.post("/files", files={"file": (name, content)}, headers={"Idempotency-Key": key})


def replayed(answer: httpx.Response) -> bool:
    return answer.headers.get("Idempotent-Replayed") == "true"


def all_at_once(ask: Any) -> list[httpx.Response]:
    answers = run_at_once([ask] * AT_ONCE)
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    return answers


def count(http: httpx.Client) -> int:
    return len(http.get("/jobs", params={"limit": 100}).json()["data"])


def test_fifty_posts_at_once_make_one_job(http: httpx.Client) -> None:
    answers = all_at_once(lambda: post(http, "/jobs", BODY))
    assert {answer.status_code for answer in answers} == {201}
    assert len({(answer.json()["id"], answer.headers["Location"]) for answer in answers}) == 1
    assert sum(not replayed(answer) for answer in answers) == 1
    assert count(http) == 1


def test_every_post_is_answered_again_and_done_once(served: Gateway, http: httpx.Client, tmp_path: Path) -> None:
    job = post(http, "/jobs", BODY, "create").json()["id"]
    claim = served.worker.claim("w1", None, OFFERS)
    assert claim is not None
    for step in (10, 20):
        (tmp_path / "state").write_text(f"state at {step}")
        served.worker.keep(job, claim.job.fence, step, Kind.CHECKPOINT, f"checkpoint-{step}", tmp_path / "state")
    twice(http, f"/jobs/{job}/pause", 200, b"")
    served.worker.stopped(claim.job.id, claim.job.fence, "paused")
    twice(http, f"/jobs/{job}/resume", 200, b"")
    again = served.worker.claim("w1", None, OFFERS)
    assert again is not None
    served.worker.fail(again.job.id, again.job.fence, JobError("x", "x"), cause="x", retry=False)
    twice(http, f"/jobs/{job}/retry", 200, b"")
    twice(http, f"/jobs/{job}/clone", 201, b'{"steps": 3}')
    twice(http, f"/jobs/{job}/certificate", 201, b'{"from_step": 10}')
    twice(http, f"/jobs/{job}/cancel", 200, b"")
    assert count(http) == 3


def twice(http: httpx.Client, path: str, status: int, body: bytes) -> None:
    """Under one key: the same thing twice, the second time marked; another body under it is refused."""
    first, again = (post(http, path, body, path) for _ in range(2))
    assert (first.status_code, again.status_code) == (status, status), first.text
    assert (replayed(first), replayed(again)) == (False, True)
    assert first.json() == again.json()
    other = post(http, path, b'{"priority": 3}', path)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert other.json()["errors"][0]["path"] == "Idempotency-Key"


def test_a_key_of_one_address_is_refused_at_another(http: httpx.Client) -> None:
    one, two = (post(http, "/jobs", BODY, key).json()["id"] for key in "ab")
    assert post(http, f"/jobs/{one}/cancel", key="c").status_code == 200
    for path in (f"/jobs/{two}/cancel", f"/jobs/{one}/retry"):
        answer = post(http, path, key="c")
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert http.get(f"/jobs/{two}").json()["state"] == "queued"


def test_fifty_uploads_at_once_make_one_file_and_leave_nothing_beside_it(served: Gateway, http: httpx.Client) -> None:
    answers = all_at_once(lambda: upload(http, b"a red circle", "k"))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(not replayed(answer) for answer in answers) == 1
    assert len(list(served.store.list("files/"))) == 1
    for content, name in ((b"a blue square", "p.txt"), (b"a red circle", "q.txt")):
        answer = upload(http, content, "k", name)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_a_request_that_was_refused_leaves_its_key_free(http: httpx.Client) -> None:
    assert post(http, "/jobs", b'{"steps": 0}').status_code == 422
    assert post(http, "/jobs", BODY).status_code == 201


@pytest.mark.parametrize("path", ["/jobs", "/jobs/job_1/pause", "/jobs/job_1/clone", "/files"])
def test_a_key_that_is_none_is_refused_everywhere(gateway: Any, path: str) -> None:
    given = {"files": {"file": ("p.txt", b"a red circle")}} if path == "/files" else {"json": GOOD}
    answer = gateway.client.post(path, headers={"Idempotency-Key": "two words"}, **given)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_idempotency_key")
