"""Asynchronous requests: taken at once, fetched later from any replica, cancelled, and lost with their process."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient

from service.domain.ids import TenantId, new_drawing_id
from service.domain.principals import LOCAL
from service.settings import Settings
from tests.eventually import eventually
from tests.worker.inference.calls import post
from tests.worker.inference.conftest import KEY, Deliver
from tests.worker.inference.slow import Held
from worker.inference.api.later import ENDED, LOST_SECONDS
from worker.inference.app import create_app

Client = TestClient


def path_of(drawing: dict[str, Any]) -> str:
    return f"/v1/images/requests/{drawing['id']}"


def ended(client: TestClient, drawing: dict[str, Any]) -> dict[str, Any]:
    """As it is when it has come to its end."""

    def asked() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(path_of(drawing)).json()
        return found if found["status"] in ENDED else None

    found = eventually(asked)
    assert found is not None
    return found


@pytest.fixture
def replicas(settings: Settings, held: Held) -> Iterator[tuple[TestClient, TestClient]]:
    """Two processes' apps over one store; their denoisers are held."""
    with ExitStack() as stack:
        clients = tuple(stack.enter_context(TestClient(create_app(settings))) for _ in range(2))
        for client in clients:
            client.headers["Authorization"] = f"Bearer {KEY}"
        yield clients  # type: ignore[misc]
        held.gate.set()


def later(client: TestClient, **change: Any) -> dict[str, Any]:
    answer = post(client, background=True, **change)
    assert answer.status_code == 202, answer.text
    drawing: dict[str, Any] = answer.json()
    return drawing


class TestAsking:
    @pytest.mark.parametrize(
        ("headers", "change", "applied"),
        [
            ({"Prefer": "respond-async"}, {}, "respond-async"),
            ({"Prefer": "wait=5, Respond-Async; x=1"}, {}, "respond-async"),
            ({}, {"background": True}, None),
        ],
    )
    def test_is_answered_at_once(
        self, shared: TestClient, headers: dict[str, str], change: dict[str, Any], applied: str | None
    ) -> None:
        answer = post(shared, headers, **change)
        drawing = answer.json()
        assert answer.status_code == 202
        assert answer.headers["Location"] == path_of(drawing)
        assert answer.headers["Retry-After"] == "2"
        assert answer.headers.get("Preference-Applied") == applied
        assert (drawing["object"], drawing["model"]) == ("image.request", "tiny")
        assert drawing["progress"] == {"step": 0, "steps": 3}

    def test_comes_to_the_answer_of_a_request_that_waits(self, shared: TestClient) -> None:
        asked: dict[str, Any] = {"n": 2, "batch_size": 2}
        done = ended(shared, later(shared, **asked))
        assert done["status"] == "completed"
        assert done["progress"] == {"step": 6, "steps": 6}
        plain = post(shared, **asked).json()
        assert done["result"] | {"created": 0} == plain | {"created": 0}
        assert datetime.fromisoformat(done["expires_at"]) > datetime.now(UTC) + timedelta(minutes=59)

    def test_with_links_gives_links(self, shared: TestClient) -> None:
        (image,) = ended(shared, later(shared, response_format="url"))["result"]["data"]
        assert shared.get(image["url"], headers={"Authorization": ""}).status_code == 200

    def test_is_refused_as_ever(self, shared: TestClient) -> None:
        answer = post(shared, background=True, model="nothing")
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_model")

    def test_that_fails_says_why(self, endpoint: TestClient, deliver: Deliver) -> None:
        reference = deliver(b"not a safetensors file")
        done = ended(endpoint, later(endpoint, model=reference))
        assert (done["status"], done["error"]["code"]) == ("failed", "adapter_corrupt")
        assert reference in done["error"]["message"]

    def test_of_what_nobody_asked_is_404(self, shared: TestClient) -> None:
        for id in (new_drawing_id(), "drawing_x", "../x"):
            for answer in (shared.get(f"/v1/images/requests/{id}"), shared.delete(f"/v1/images/requests/{id}")):
                assert answer.status_code == 404


class TestReplicas:
    def test_see_what_another_draws(self, replicas: tuple[TestClient, TestClient], held: Held) -> None:
        owner, other = replicas
        drawing = later(owner, n=2)
        assert other.get(path_of(drawing)).json()["status"] in ("queued", "in_progress")
        held.gate.set()
        assert ended(other, drawing) == ended(owner, drawing)

    def test_cancel_what_another_draws(self, replicas: tuple[TestClient, TestClient], held: Held) -> None:
        owner, other = replicas
        drawing = later(owner, num_inference_steps=900)
        held.until(lambda calls: calls == 1)
        assert other.delete(path_of(drawing)).json()["status"] == "cancelled"
        held.gate.set()
        engine = owner.app.state.endpoint.engine  # type: ignore[attr-defined]
        eventually(lambda: engine.figures().running == 0)
        assert held.calls == 1
        assert other.get(path_of(drawing)).json()["status"] == "cancelled"

    def test_tell_what_was_lost_with_its_process(self, shared: TestClient) -> None:
        drawings = shared.app.state.endpoint.drawings  # type: ignore[attr-defined]
        done = drawings.get(LOCAL, ended(shared, later(shared))["id"])
        for seconds, status in ((LOST_SECONDS - 10, "in_progress"), (LOST_SECONDS + 10, "failed")):
            said = datetime.now(UTC) - timedelta(seconds=seconds)
            lost = done.model_copy(
                update={"id": new_drawing_id(), "status": "in_progress", "updated_at": said, "expires_at": None}
            )
            drawings._files.put(TenantId("local"), f"{lost.id}.json", lost.model_dump_json().encode())
            found = shared.get(f"/v1/images/requests/{lost.id}").json()
            assert found["status"] == status
        assert found["error"]["code"] == "process_lost"

    def test_forget_what_is_over(self, shared: TestClient) -> None:
        drawings = shared.app.state.endpoint.drawings  # type: ignore[attr-defined]
        done = drawings.get(LOCAL, ended(shared, later(shared))["id"])
        over = done.model_copy(update={"id": new_drawing_id(), "expires_at": datetime.now(UTC)})
        drawings._files.put(TenantId("local"), f"{over.id}.json", over.model_dump_json().encode())
        assert shared.get(f"/v1/images/requests/{over.id}").status_code == 404


class TestCancelling:
    def test_takes_no_step_more(self, replicas: tuple[TestClient, TestClient], held: Held) -> None:
        owner, _ = replicas
        drawing = later(owner, num_inference_steps=900)
        held.until(lambda calls: calls == 1)
        answer: Response = owner.delete(path_of(drawing))
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        held.gate.set()
        assert ended(owner, drawing)["result"] is None
        assert post(owner).status_code == 200
        assert held.calls == 1 + 3

    def test_changes_nothing_after_the_end(self, shared: TestClient) -> None:
        done = ended(shared, later(shared))
        assert shared.delete(path_of(done)).json() == done


def test_the_end_of_the_process_waits_for_them(settings: Settings) -> None:
    with TestClient(create_app(settings)) as first:
        first.headers["Authorization"] = f"Bearer {KEY}"
        drawing = later(first, num_inference_steps=20)
    with TestClient(create_app(settings)) as second:
        second.headers["Authorization"] = f"Bearer {KEY}"
        assert second.get(path_of(drawing)).json()["status"] == "completed"


def test_without_the_store_nothing_is_promised(shared: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OSError(5, "away")

    monkeypatch.setattr("service.adapters.storage.folder.copy_whole", away)
    answer = post(shared, background=True)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
