"""Where the other faces are: told to everybody by the gateway's own address."""

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.servers.processes import answers
from tests.service.rest.calls import Gateway

PATH = "/.well-known/strop"


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


@pytest.mark.parametrize("name", ["STROP_GRPC_URL", "STROP_INFERENCE_URL"])
def test_an_address_without_a_scheme_is_refused_at_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "strop.example:443")
    with pytest.raises(ValidationError, match=name):
        Settings()
