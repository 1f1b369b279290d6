"""One address is enough: the gateway says where the other faces are."""

import pytest
import strop
from strop.finding import Faces, Target
from strop.v1 import jobs_pb2

from tests.sdk.servers import Reply, answer, http_server, job, rpc_server

TOLD = {"version": "1", "grpc_port": 8002, "inference_port": 8001, "grpc_url": None, "inference_url": None}


def faces(url: str, grpc: str | None = None, inference: str | None = None, **told: object) -> Faces:
    return Faces(url, grpc, inference, lambda: {**TOLD, **told})


@pytest.mark.parametrize(
    ("url", "address", "secure", "inference"),
    [
        ("http://strop.lan:8000", "strop.lan:8002", False, "http://strop.lan:8001"),
        ("https://strop.lan/", "strop.lan:8002", True, "https://strop.lan:8001"),
        ("http://[::1]:8000", "[::1]:8002", False, "http://[::1]:8001"),
        ("localhost:8000", "localhost:8002", False, "http://localhost:8001"),
    ],
)
def test_where_no_url_is_told_it_is_the_gateways_host(url: str, address: str, secure: bool, inference: str) -> None:
    assert faces(url).grpc() == Target(address, secure)
    assert faces(url).inference() == inference


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("grpcs://rpc.lan", Target("rpc.lan:443", True)),
        ("https://rpc.lan:9", Target("rpc.lan:9", True)),
        ("grpc://rpc.lan:9", Target("rpc.lan:9", False)),
        ("rpc.lan:9", Target("rpc.lan:9", False)),
    ],
)
def test_a_url_that_is_told_or_given_counts(url: str, target: Target) -> None:
    assert faces("http://a", grpc_url=url).grpc() == target
    assert faces("http://a", grpc=url, grpc_url="http://other").grpc() == target


def test_what_is_not_told_is_said_with_the_remedy() -> None:
    with pytest.raises(strop.StropError, match="give grpc_url"):
        faces("http://a", grpc_port=None).grpc()


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://a:b", "http://a:99999", "http://[::1"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(strop.StropError, match="is not an address"):
        strop.Client(url)


def test_the_gateway_is_asked_when_first_needed_and_once() -> None:
    with rpc_server(Get=[answer(jobs_pb2.JobsGetResponse(job=job()))]) as rpc:
        told = Reply(body={**TOLD, "grpc_port": rpc.port})
        with http_server({"/.well-known/strop": [told]}) as http, strop.Client(http.url) as client:
            assert http.seen("/.well-known/strop") == 0
            client.jobs.get("x")
            client.jobs.get("x")
            assert http.seen("/.well-known/strop") == 1


def test_url_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server({"/jobs/x/artifacts": [Reply(body={"data": []})]}) as http:
        monkeypatch.setenv("STROP_URL", http.url)
        monkeypatch.setenv("STROP_API_KEY", "of-the-environment\n")
        with strop.Client() as client:
            client.artifacts.list("x")
        with strop.Client(api_key="given") as client:
            client.artifacts.list("x")
        assert [headers["authorization"] for _, headers, _ in http.requests] == [
            "Bearer of-the-environment",
            "Bearer given",
        ]


def test_a_key_that_no_header_can_carry_is_refused_at_once() -> None:
    with pytest.raises(strop.Unauthenticated, match="characters"):
        strop.Client(api_key="schlüssel")
