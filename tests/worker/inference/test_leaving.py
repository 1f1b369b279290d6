"""A client that goes away: over a real socket, the engine takes no step more for it."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.settings import Settings
from tests.eventually import eventually
from tests.worker.inference.calls import GENERATIONS, GOOD, served
from tests.worker.inference.conftest import KEY
from tests.worker.inference.slow import Held
from worker.inference.app import create_app

STEPS = 1000


def ask(url: str, **change: Any) -> socket.socket:
    """A connection on which the request was sent, and nothing was read."""
    address = urlsplit(url)
    body = json.dumps({**GOOD, "num_inference_steps": STEPS, "guidance_scale": 1, **change}).encode()
    head = (
        f"POST {GENERATIONS} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection((str(address.hostname), int(address.port or 0)))
    connection.sendall(head.encode() + body)
    return connection


@pytest.mark.parametrize("change", [{}, {"stream": True}, {"stream": True, "partial_images": 1, "n": 2}])
def test_costs_the_step_that_runs_and_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    held = Held(free=2)
    monkeypatch.setattr("worker.inference.app.load", held.load)
    app = create_app(settings)
    engine = app.state.endpoint.engine
    with served(app) as url, held:
        with ask(url, **change):
            held.until(lambda calls: calls == 3)
        eventually(lambda: engine.figures().running == engine.figures().waiting == 0)
        held.gate.set()
        with ask(url, num_inference_steps=1) as stays:
            assert stays.recv(12) == b"HTTP/1.1 200"
        assert held.calls == 3 + 1


def test_while_it_waits_costs_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    monkeypatch.setattr("worker.inference.app.load", held.load)
    app = create_app(settings)
    engine = app.state.endpoint.engine
    with served(app) as url, held, ask(url, num_inference_steps=2) as stays:
        held.until(lambda calls: calls == 1)
        with ask(url):
            eventually(lambda: engine.figures().waiting == 1)
        eventually(lambda: engine.figures().waiting == 0)
        held.gate.set()
        assert stays.recv(12) == b"HTTP/1.1 200"
        assert held.calls == 2
