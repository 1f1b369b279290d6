"""Ready means that steps are taken: a denoiser that hangs, models that are not warm, and one that cannot be."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from service.settings import Settings
from tests.eventually import eventually
from tests.worker.inference.calls import post
from tests.worker.inference.conftest import KEY
from tests.worker.inference.slow import Held
from worker.inference.api.health import FAULTS
from worker.inference.app import create_app
from worker.models.family import Family
from worker.models.load import load


@pytest.fixture
def others() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def open_client(settings: Settings, **change: Any) -> TestClient:
    client = TestClient(create_app(settings.model_copy(update=change)))
    client.headers["Authorization"] = f"Bearer {KEY}"
    return client


class TestReady:
    def test_is_not_an_engine_that_hangs(self, settings: Settings, held: Held, others: ThreadPoolExecutor) -> None:
        with open_client(settings, stuck_seconds=0.3) as client, held:
            asked = others.submit(post, client)
            held.until(lambda calls: calls == 1)
            eventually(lambda: client.get("/readyz").status_code == 503)
            answer = client.get("/readyz").json()
            assert answer["code"] == "engine_stuck"
            assert "no step was taken for" in answer["detail"]
            assert client.get("/healthz").status_code == 200
            held.gate.set()
            assert asked.result().status_code == 200
            assert client.get("/readyz").status_code == 200

    def test_is_an_engine_that_had_nothing_to_do_for_long(self, settings: Settings) -> None:
        with open_client(settings, stuck_seconds=0.01) as client:
            assert post(client).status_code == 200
            finished = time.monotonic()
            eventually(lambda: client.get("/readyz").status_code == 200)
            eventually(lambda: time.monotonic() > finished + 0.05)
            assert client.get("/readyz").status_code == 200

    def test_is_not_before_its_models_are_warm(self, settings: Settings, held: Held) -> None:
        with open_client(settings, warm_bases="tiny") as client, held:
            held.until(lambda calls: calls == 1)
            answer = client.get("/readyz")
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
            assert "tiny: not warm yet" in answer.json()["detail"]
            held.gate.set()
            eventually(lambda: client.get("/readyz").status_code == 200)
            assert held.calls == 1

    def test_says_why_a_model_does_not_get_warm_and_tries_again(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tries: list[int] = []
        again = threading.Event()

        def fails_once(*given: Any, **named: Any) -> Family:
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("a fault")
            again.wait()
            return load(*given, **named)

        monkeypatch.setattr("worker.inference.app.load", fails_once)
        monkeypatch.setattr("worker.inference.api.health.RETRY_SECONDS", 0.01)
        monkeypatch.setattr("worker.inference.engine.resident.REFUSED_SECONDS", 0.0)
        with open_client(settings, warm_bases="tiny") as client:
            eventually(lambda: len(tries) == 2)
            assert "not warm yet: " in client.get("/readyz").json()["detail"]
            again.set()
            eventually(lambda: client.get("/readyz").status_code == 200)

    def test_names_of_models_that_nobody_has_end_the_process(self, settings: Settings) -> None:
        with pytest.raises(SystemExit, match="STROP_WARM_BASES: tinny is not in the catalogue"):
            create_app(settings.model_copy(update={"warm_bases": "tiny, tinny"}))


class TestDraining:
    def test_takes_nothing_more_and_finishes_what_it_has(
        self, settings: Settings, held: Held, others: ThreadPoolExecutor
    ) -> None:
        with open_client(settings) as client, held:
            asked = others.submit(post, client)
            held.until(lambda calls: calls == 1)
            engine = client.app.state.endpoint.engine  # type: ignore[attr-defined]
            drained = others.submit(engine.drain)
            eventually(lambda: not engine.alive)
            for answer in (post(client), post(client, stream=True), post(client, background=True)):
                assert (answer.status_code, answer.json()["code"]) == (503, "draining")
                assert int(answer.headers["Retry-After"]) >= 1
            assert client.get("/readyz").status_code == 503
            held.gate.set()
            assert asked.result().status_code == 200
            assert drained.result()


class TestAlive:
    def test_is_not_an_engine_that_hangs_for_too_long(
        self, settings: Settings, held: Held, others: ThreadPoolExecutor
    ) -> None:
        with open_client(settings, step_timeout=0.3) as client, held:
            asked = others.submit(post, client)
            held.until(lambda calls: calls == 1)
            eventually(lambda: client.get("/healthz").status_code == 503)
            assert client.get("/healthz").json()["code"] == "engine_stuck"
            assert client.get("/readyz").status_code == 200
            held.gate.set()
            assert asked.result().status_code == 200
            assert client.get("/healthz").status_code == 200

    def test_is_not_an_engine_whose_loop_has_ended(self, settings: Settings) -> None:
        with open_client(settings) as client:
            assert client.get("/healthz").status_code == 200
            client.app.state.endpoint.engine.close()  # type: ignore[attr-defined]
            for path in ("/healthz", "/readyz"):
                assert client.get(path).status_code == 503


def test_when_the_queue_is_full_says_when_to_come_back(
    settings: Settings, held: Held, others: ThreadPoolExecutor, sd_folder: Path
) -> None:
    with open_client(settings) as client, held:
        asked = [others.submit(post, client) for _ in range(2)]
        held.until(lambda calls: calls == 1)
        while (answer := post(client, background=True)).status_code == 202:
            pass
        assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["error"]["type"] == "rate_limit_error"
        held.gate.set()
        assert [each.result().status_code for each in asked] == [200, 200]


class TestALostDevice:
    """Each call answers within milliseconds: neither the clock nor the queue would tell."""

    def test_is_neither_ready_nor_alive_also_while_nobody_asks(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = threading.Event()
        broken.set()

        def hooked(*given: Any, **named: Any) -> Family:
            family = load(*given, **named)
            family.denoiser.register_forward_pre_hook(fail)
            return family

        def fail(*given: object) -> None:
            if broken.is_set():
                raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

        monkeypatch.setattr("worker.inference.app.load", hooked)
        with open_client(settings) as client:
            assert post(client).status_code == 500
            for path in ("/readyz", "/healthz"):
                answer = client.get(path)
                assert (answer.status_code, answer.json()["code"]) == (503, "device_lost")
                assert "illegal memory access" in answer.json()["detail"]
            broken.clear()
            assert post(client).status_code == 200
            assert [client.get(path).status_code for path in ("/readyz", "/healthz")] == [200, 200]

    def test_nor_is_one_ready_that_fails_whatever_it_is_asked(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def hooked(*given: Any, **named: Any) -> Family:
            family = load(*given, **named)
            family.decode = lambda latents: 1 / 0  # type: ignore[assignment, method-assign]
            return family

        monkeypatch.setattr("worker.inference.app.load", hooked)
        with open_client(settings) as client:
            for _ in range(FAULTS):
                assert client.get("/readyz").status_code == 200
                assert post(client).status_code == 500
            answer = client.get("/readyz").json()
            assert (answer["code"], client.get("/healthz").status_code) == ("not_ready", 200)
            assert f"failed {FAULTS} times in a row" in answer["detail"]
