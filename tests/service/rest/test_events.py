"""Events by their numbers, over each database: however high the number is that a reader goes on from."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from tests.service.rest.calls import Gateway
from tests.service.running import KEY, settings_of

HIGH = (2**31 - 2, 2**31 - 1, 2**31, 2**32, 2**63 - 1)


@pytest.fixture
def gateway(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with TestClient(create_app(settings_of(database_url, tmp_path, monkeypatch))) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield Gateway(client)


def test_beyond_every_number_there_is_an_empty_page(gateway: Gateway) -> None:
    """The column of numbers ends at 2^31 - 1 on PostgreSQL, and nowhere on SQLite."""
    job = gateway.new_job()
    for after in HIGH:
        answer = gateway.get(f"/jobs/{job}/events", params={"after": after})
        assert (answer.status_code, answer.json()["data"], answer.json()["has_more"]) == (200, [], False), after
    assert gateway.get(f"/jobs/{job}/events", params={"after": 2**63}).status_code == 422
