"""The server has few threads, and every route needs them: what waits holds none, and the probes ask for none."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from starlette.testclient import TestClient

from service.domain.ids import TenantId, new_drawing_id
from service.settings import Settings
from tests.eventually import eventually
from tests.worker.inference.calls import post
from tests.worker.inference.conftest import KEY, Deliver
from tests.worker.inference.pictures import random_adapter
from tests.worker.inference.slow import Held
from worker.inference.api.answers import Drawing, DrawingProgress
from worker.inference.app import create_app

LONG = 30.0


@pytest.fixture
def client(settings: Settings, held: Held) -> Iterator[TestClient]:
    """Its denoiser is held."""
    with TestClient(create_app(settings)) as client, held:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield client


@pytest.fixture
def others(held: Held) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool, held:
        yield pool


@pytest.fixture
def threads(client: TestClient) -> Iterator[Callable[[float], None]]:
    """Says how many threads the server has from now on."""
    assert client.portal is not None
    portal = client.portal

    def leave(count: float) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = count

    yield lambda count: portal.call(leave, count)
    portal.call(leave, 40)


def counted(owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each call of the method was given."""
    calls: list[Any] = []
    method = getattr(owner, name)

    def call(*given: Any) -> Any:
        calls.append(given)
        return method(*given)

    monkeypatch.setattr(owner, name, call)
    return calls


def test_the_probes_ask_for_none(
    client: TestClient, threads: Callable[[float], None], others: ThreadPoolExecutor
) -> None:
    threads(0)
    waits = others.submit(client.get, "/v1/models")
    try:
        for path in ("/healthz", "/readyz"):
            assert others.submit(client.get, path).result(LONG).status_code == 200
        client.app.state.endpoint.engine.close()  # type: ignore[attr-defined]
        for path in ("/healthz", "/readyz"):
            assert others.submit(client.get, path).result(LONG).status_code == 503
        assert not waits.done()
    finally:
        threads(40)
    assert waits.result(LONG).status_code == 200


def test_who_waits_for_a_receipt_holds_none(
    *, client: TestClient, threads: Callable[[float], None], others: ThreadPoolExecutor, deliver: Deliver,
    sd_folder: Path, held: Held, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked = {"adapter": deliver(random_adapter(sd_folder, 0)), "prompts": ["red"], "seeds": [0]}
    path = client.post("/v1/receipts", json=asked).headers["Location"]
    desk: Any = client.app.state.receipts  # type: ignore[attr-defined]
    followed, joined = counted(desk, "get", monkeypatch), counted(desk, "ask", monkeypatch)
    threads(1)
    waiting = [others.submit(client.get, path, headers={"Prefer": f"wait={LONG:.0f}"}) for _ in range(3)]
    waiting.append(others.submit(client.post, "/v1/receipts", json=asked, headers={"Prefer": f"wait={LONG:.0f}"}))
    eventually(lambda: len(followed) == 3 and len(joined) == 1)
    assert others.submit(client.get, "/v1/models").result(LONG / 2).status_code == 200
    assert not any(each.done() for each in waiting)
    held.gate.set()
    assert [each.result(LONG).json()["status"] for each in waiting] == ["completed"] * 4


def test_who_waits_for_another_process_to_cancel_holds_none(
    client: TestClient, threads: Callable[[float], None], others: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.inference.api.routes.CANCEL_SECONDS", LONG)
    files, now = client.app.state.endpoint.giving.files, datetime.now(UTC)  # type: ignore[attr-defined]
    theirs = Drawing(
        id=new_drawing_id(), status="in_progress", model="tiny", created_at=now, updated_at=now,
        progress=DrawingProgress(step=1, steps=3),
    )  # fmt: skip
    tenant, name = TenantId("local"), f"{theirs.id}.json"
    files.put(tenant, name, theirs.model_dump_json().encode())
    threads(1)
    cancelled = others.submit(client.delete, f"/v1/images/requests/{theirs.id}")
    eventually(lambda: files.has(tenant, f"{theirs.id}.cancel"))
    assert others.submit(client.get, "/v1/models").result(LONG / 2).status_code == 200
    assert not cancelled.done()
    files.put(tenant, name, theirs.model_copy(update={"status": "cancelled"}).model_dump_json().encode())
    assert cancelled.result(LONG).json()["status"] == "cancelled"


def test_who_waits_for_pictures_holds_none(
    client: TestClient, threads: Callable[[float], None], others: ThreadPoolExecutor
) -> None:
    threads(1)
    waiting = [others.submit(post, client, stream=stream) for stream in (False, True)]
    engine = client.app.state.endpoint.engine  # type: ignore[attr-defined]
    eventually(lambda: engine.figures().running + engine.figures().waiting == 2)
    assert others.submit(client.get, "/v1/models").result(LONG).status_code == 200
    assert not any(each.done() for each in waiting)
