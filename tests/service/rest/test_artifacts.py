"""A job's files: listed with links, read by link or key, whole or by range."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.adapters import storage
from service.app import create_app
from service.domain.artifacts import Kind
from service.domain.principals import LOCAL
from service.operations.attempts import Attempts
from service.settings import Settings
from service.wire.links import Links, secret
from tests.service.rest.calls import KEY, OFFERS, Gateway

CONTENT = bytes(range(256)) * 10


@pytest.fixture
def made(gateway: Gateway, attempts: Attempts, tmp_path: Path) -> Iterator[str]:
    """The id of a job with an adapter and a sample."""
    job = gateway.new_job()
    claim = attempts.claim("w1", None, OFFERS)
    assert claim is not None
    for name, kind in (("step-20-0.png", Kind.SAMPLE), ("adapter.safetensors", Kind.ADAPTER)):
        (tmp_path / name).write_bytes(CONTENT)
        attempts.keep(claim.job.id, claim.job.fence, 20, kind, name, tmp_path / name)
    return job


@pytest.fixture
def adapter(gateway: Gateway, made: str) -> dict[str, Any]:
    return next(each for each in listed(gateway, made) if each["kind"] == "adapter")


def listed(gateway: Gateway, job: str) -> list[dict[str, Any]]:
    return gateway.get(f"/jobs/{job}/artifacts").json()["data"]


def path_of(artifact: dict[str, Any]) -> str:
    return artifact["url"].split("?")[0]


def keyless(gateway: Gateway, url: str, **headers: str) -> Any:
    return gateway.get(
        url, headers={"Authorization": "", **{name.replace("_", "-"): value for name, value in headers.items()}}
    )


class TestList:
    def test_tells_what_each_file_is(self, adapter: dict[str, Any]) -> None:
        assert adapter["object"] == "artifact"
        assert (adapter["name"], adapter["fence"], adapter["step"]) == ("adapter.safetensors", 1, 20)
        assert (adapter["bytes"], adapter["sha256"]) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        assert adapter["media_type"] == "application/octet-stream"

    def test_of_no_job_is_404(self, gateway: Gateway) -> None:
        assert gateway.get("/jobs/job_1/artifacts").status_code == 404

    def test_begins_links_with_the_address_that_callers_know(
        self, gateway: Gateway, made: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STROP_GATEWAY_URL", "https://strop.example/")
        with TestClient(create_app(Settings()), headers={"Authorization": f"Bearer {KEY}"}) as known:
            links = [each["url"] for each in listed(Gateway(known), made)]
        assert links and all(each.startswith(f"https://strop.example/jobs/{made}/artifacts/1/") for each in links)
        for link in links:
            assert keyless(gateway, link.removeprefix("https://strop.example")).content == CONTENT


class TestDownload:
    def test_by_its_link_needs_no_key(self, gateway: Gateway, adapter: dict[str, Any]) -> None:
        answer = keyless(gateway, adapter["url"])
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert answer.headers["Content-Disposition"] == 'attachment; filename="adapter.safetensors"'
        assert answer.headers["Content-Length"] == str(len(CONTENT))
        assert answer.headers["Accept-Ranges"] == "bytes"

    def test_by_the_key_needs_no_link(self, gateway: Gateway, adapter: dict[str, Any]) -> None:
        assert gateway.get(path_of(adapter)).content == CONTENT

    def test_without_either_is_401(self, gateway: Gateway, adapter: dict[str, Any]) -> None:
        assert keyless(gateway, path_of(adapter)).status_code == 401

    def test_by_another_files_link_is_401(self, gateway: Gateway, made: str) -> None:
        one, other = listed(gateway, made)
        token = one["url"].split("?token=")[1]
        answer = keyless(gateway, f"{path_of(other)}?token={token}")
        assert (answer.status_code, answer.json()["code"]) == (401, "link_invalid")

    def test_by_an_old_link_is_401(self, gateway: Gateway, adapter: dict[str, Any]) -> None:
        path = f"/jobs/{path_of(adapter).split('/jobs/')[1]}"
        yesterday = Links(secret(None, KEY), lambda: datetime.now(UTC) - timedelta(days=1))
        token, _ = yesterday.token(LOCAL, path)
        assert keyless(gateway, f"{path}?token={token}").json()["code"] == "link_expired"

    def test_a_picture_is_shown_in_place_and_as_nothing_else(self, gateway: Gateway, made: str) -> None:
        sample = next(each for each in listed(gateway, made) if each["kind"] == "sample")
        answer = keyless(gateway, sample["url"])
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Content-Disposition"] == 'inline; filename="step-20-0.png"'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize(
        ("asked", "start", "end"), [("bytes=0-99", 0, 100), ("bytes=2500-", 2500, 2560), ("bytes=-5", 2555, 2560)]
    )
    def test_by_range(self, gateway: Gateway, adapter: dict[str, Any], asked: str, start: int, end: int) -> None:
        answer = keyless(gateway, adapter["url"], Range=asked)
        assert (answer.status_code, answer.content) == (206, CONTENT[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"

    def test_beyond_its_end_is_416(self, gateway: Gateway, adapter: dict[str, Any]) -> None:
        answer = keyless(gateway, adapter["url"], Range="bytes=9999-")
        assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
        assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"

    def test_goes_on_only_with_the_same_file(self, gateway: Gateway, adapter: dict[str, Any]) -> None:
        same = keyless(gateway, adapter["url"], Range="bytes=0-9", If_Range=f'"{adapter["sha256"]}"')
        other = keyless(gateway, adapter["url"], Range="bytes=0-9", If_Range='"another"')
        assert (same.status_code, other.status_code) == (206, 200)

    def test_is_not_sent_again(self, gateway: Gateway, adapter: dict[str, Any]) -> None:
        answer = keyless(gateway, adapter["url"], If_None_Match=f'"{adapter["sha256"]}"')
        assert (answer.status_code, answer.content) == (304, b"")

    def test_head_tells_without_bytes(self, gateway: Gateway, adapter: dict[str, Any]) -> None:
        answer = gateway.client.head(adapter["url"])
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["Content-Length"] == str(len(CONTENT))

    @pytest.mark.parametrize("rest", ["1/nothing.png", "2/adapter.safetensors", "1/..%2f..%2fstrop.db", "1/%00"])
    def test_of_what_has_no_row_is_404(self, gateway: Gateway, made: str, rest: str) -> None:
        answer = gateway.get(f"/jobs/{made}/artifacts/{rest}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")

    def test_of_what_the_store_lost_is_a_problem_not_half_a_file(
        self, gateway: Gateway, adapter: dict[str, Any], settings: Settings, made: str
    ) -> None:
        storage.make(settings.store_url).delete(f"jobs/{made}/1/adapter.safetensors")
        answer = keyless(gateway, adapter["url"])
        assert (answer.status_code, answer.json()["code"]) == (500, "damaged")
