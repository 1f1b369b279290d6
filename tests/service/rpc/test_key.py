"""Every method needs the key, but health: found by listing the descriptors. (tests/service/rest/test_key.py lists the routes.)"""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from strop.v1 import jobs_pb2, models_pb2, rewards_pb2

from tests.service.rpc.calls import Refused, Rpc, details_of, key_of

FILES = (jobs_pb2, models_pb2, rewards_pb2)


def methods() -> Iterator[tuple[str, bool]]:
    """(path, is the answer a stream) of every method in proto/strop/v1."""
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}", method.server_streaming


def call(rpc: Rpc, path: str, streams: bool, metadata: Any) -> Refused | None:
    """An empty request; None: it was answered."""
    try:
        if streams:
            list(rpc.channel.unary_stream(path)(b"", metadata=metadata, timeout=10))
        else:
            rpc.channel.unary_unary(path)(b"", metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        return details_of(error)
    return None


def test_the_list_is_whole() -> None:
    assert sorted(path for path, _ in methods()) == [
        "/strop.v1.Jobs/Cancel", "/strop.v1.Jobs/Certificate", "/strop.v1.Jobs/Clone", "/strop.v1.Jobs/Create",
        "/strop.v1.Jobs/Get", "/strop.v1.Jobs/List", "/strop.v1.Jobs/Pause", "/strop.v1.Jobs/Resume",
        "/strop.v1.Jobs/Retry", "/strop.v1.Jobs/Watch", "/strop.v1.Models/Delete", "/strop.v1.Models/DeleteAlias",
        "/strop.v1.Models/Get", "/strop.v1.Models/List", "/strop.v1.Models/ListMethods", "/strop.v1.Models/SetAlias",
        "/strop.v1.Rewards/List",
    ]  # fmt: skip


WRONG = {
    "missing": (),
    "wrong": key_of("a-key-of-fifteen"),
    "cut short": key_of(key_of()[0][1][7:-1]),
    "another scheme": (("authorization", "Basic " + key_of()[0][1][7:]),),
    "without a scheme": (("authorization", key_of()[0][1][7:]),),
}


@pytest.mark.parametrize("metadata", WRONG.values(), ids=WRONG)
def test_no_method_answers_without_the_key(rpc: Rpc, metadata: Any) -> None:
    for path, streams in (*methods(), ("/strop.v1.Jobs/Nothing", False), ("/nothing.at/All", True)):
        refused = call(rpc, path, streams, metadata)
        assert refused is not None, path
        assert refused.code is grpc.StatusCode.UNAUTHENTICATED, path
        assert (refused.problem["code"], refused.problem["status"]) == ("unauthenticated", 401)


def test_every_method_hears_who_has_the_key(rpc: Rpc) -> None:
    for path, streams in methods():
        refused = call(rpc, path, streams, key_of())
        assert refused is None or refused.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT), path


def test_an_unknown_method_is_told_as_such(rpc: Rpc) -> None:
    refused = call(rpc, "/strop.v1.Jobs/Nothing", False, key_of())
    assert refused is not None
    assert (refused.code, refused.problem["code"]) == (grpc.StatusCode.UNIMPLEMENTED, "method_not_found")


def test_health_is_public(rpc: Rpc) -> None:
    health = health_pb2_grpc.HealthStub(rpc.channel)
    for service in ("", "strop.v1.Jobs", "strop.v1.Models", "strop.v1.Rewards"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        health.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=10)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
