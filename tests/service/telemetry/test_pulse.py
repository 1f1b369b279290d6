"""Readiness says when the loop last went round, not that the process lives."""

import json
import threading
import urllib.error
import urllib.request
from http import HTTPStatus
from time import monotonic
from typing import Any

import pytest

from service.telemetry import Pulse, pulse, served
from tests.eventually import eventually
from tests.servers.processes import answers, free_port


def ask(port: int, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def test_before_the_first_turn_it_is_not_ready() -> None:
    assert not Pulse(patience=60).ready
    assert Pulse(patience=60).quiet is None


def test_a_turn_makes_it_ready_until_the_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = monotonic()
    monkeypatch.setattr(pulse, "monotonic", lambda: now)
    heart = Pulse(patience=30)
    heart.beat()
    assert heart.ready
    now += 30
    assert heart.ready
    now += 0.001
    assert not heart.ready
    heart.beat()
    assert heart.ready


def test_one_that_stops_is_not_ready_however_lately_it_beat() -> None:
    heart = Pulse(patience=60)
    heart.beat()
    heart.end()
    assert not heart.ready


def test_it_is_told_over_http_on_this_machine_and_no_longer_than_the_block() -> None:
    heart, port = Pulse(patience=60), free_port()
    with served(heart, port):
        assert ask(port) == (HTTPStatus.SERVICE_UNAVAILABLE, {"status": "quiet", "quiet_seconds": None})
        assert ask(port, "/healthz")[0] == HTTPStatus.OK
        heart.beat()
        status, told = ask(port)
        assert (status, told["status"]) == (HTTPStatus.OK, "ok")
        assert 0 <= told["quiet_seconds"] < 60
        assert ask(port, "/jobs")[0] == HTTPStatus.NOT_FOUND
    assert not answers(port)


def test_without_a_port_nobody_listens() -> None:
    before = threading.active_count()
    with served(Pulse(patience=60), None):
        assert threading.active_count() == before


def test_a_taken_port_is_told() -> None:
    with served(Pulse(patience=60), port := free_port()), pytest.raises(OSError), served(Pulse(patience=60), port):
        pass


def test_an_asker_that_says_nothing_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    heart = Pulse(patience=60)
    heart.beat()
    with served(heart, port := free_port()), socket.create_connection(("127.0.0.1", port)):
        assert eventually(lambda: ask(port))[0] == HTTPStatus.OK
