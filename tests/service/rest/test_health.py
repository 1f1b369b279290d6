"""Whether it lives and is ready; and where the other faces are: told to everybody by the gateway's own address."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio.to_thread
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.servers.processes import answers
from tests.service.rest.calls import Gateway

PATH = "/.well-known/strop"
LONG = 30.0


@pytest.fixture
def threads(gateway: Gateway) -> Iterator[Callable[[float], None]]:
    """Says how many threads the server has from now on."""
    portal = gateway.client.portal
    assert portal is not None

    def leave(count: float) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = count

    yield lambda count: portal.call(leave, count)
    portal.call(leave, 40)


def test_that_it_lives_needs_no_thread(gateway: Gateway, threads: Callable[[float], None]) -> None:
    """A store that stalls holds every thread; to be ready takes one, to live takes none."""
    with ThreadPoolExecutor() as others:
        threads(0)
        waits = others.submit(gateway.get, "/readyz")
        try:
            assert others.submit(gateway.get, "/healthz").result(LONG).status_code == 200
            assert not waits.done()
        finally:
            threads(40)
        assert waits.result(LONG).status_code == 200


def test_the_other_faces_are_found_without_a_key(gateway: Gateway) -> None:
    found = gateway.get(PATH, headers={"Authorization": ""}).json()
    assert found.keys() == {"version", "grpc_port", "inference_port", "grpc_url", "inference_url"}
    assert (found["grpc_url"], found["inference_url"], found["inference_port"]) == (None, None, 8001)
    assert found["version"]


def test_the_grpc_port_is_the_one_really_bound(gateway: Gateway) -> None:
    port = gateway.get(PATH).json()["grpc_port"]
    assert port > 0
    assert answers(port)


def test_addresses_that_the_operator_set_are_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_GRPC_URL", "https://grpc.strop.example")
    monkeypatch.setenv("STROP_INFERENCE_URL", "https://images.strop.example/here")
    with TestClient(create_app(Settings())) as client:
        found = client.get(PATH).json()
    assert found["grpc_url"] == "https://grpc.strop.example"
    assert found["inference_url"] == "https://images.strop.example/here"


@pytest.mark.parametrize("name", ["STROP_GATEWAY_URL", "STROP_GRPC_URL", "STROP_INFERENCE_URL"])
def test_an_address_without_a_scheme_is_refused_at_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "strop.example:443")
    with pytest.raises(ValidationError, match=name):
        Settings()
