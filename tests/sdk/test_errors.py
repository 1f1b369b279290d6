"""Refusals of both faces end in one tree, with the same content."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import grpc
import pytest
import strop
from google.rpc import error_details_pb2, status_pb2
from strop import errors
from strop.v1 import jobs_pb2, problems_pb2

from tests.sdk.servers import Reply, http_server, job, refuse, rpc_server

KINDS = {
    422: (strop.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    404: (strop.NotFound, grpc.StatusCode.NOT_FOUND),
    409: (strop.Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    401: (strop.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    403: (strop.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    413: (strop.TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    429: (strop.RateLimited, grpc.StatusCode.RESOURCE_EXHAUSTED),
    503: (strop.Unavailable, grpc.StatusCode.UNAVAILABLE),
    500: (strop.StropError, grpc.StatusCode.INTERNAL),
}


def problem(status: int) -> dict[str, object]:
    field = {"path": "steps", "message": "this is 0", "remedy": "send 1 or more"}
    return {
        "type": "urn:strop:problem:a_code", "title": "t", "status": status, "detail": "what happened", "code": "a_code",
        "errors": [field], "request_id": "req_1",
    }  # fmt: skip


def over_http(status: int) -> strop.StropError:
    reply = Reply(status, problem(status), {"Retry-After": "7", "Content-Type": "application/problem+json"})
    with http_server({"/jobs/x/artifacts": [reply]}) as http, strop.Client(http.url, retries=0) as client:
        with pytest.raises(strop.StropError) as caught:
            client.artifacts.list("x")
        return caught.value


def over_grpc(status: int) -> strop.StropError:
    said = status_pb2.Status(code=KINDS[status][1].value[0], message="what happened")
    said.details.add().Pack(error_details_pb2.ErrorInfo(reason="a_code", domain="strop"))
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromSeconds(7)
    said.details.add().Pack(retry)
    given = problem(status)
    fields = [problems_pb2.FieldProblem(**each) for each in given.pop("errors")]  # type: ignore[attr-defined]
    said.details.add().Pack(problems_pb2.Problem(errors=fields, **given))
    metadata = (("grpc-status-details-bin", said.SerializeToString()), ("x-request-id", "req_1"))
    with (
        rpc_server(Get=[refuse(KINDS[status][1], "what happened", *metadata)]) as rpc,
        strop.Client(grpc_url=f"127.0.0.1:{rpc.port}", retries=0) as client,
    ):
        with pytest.raises(strop.StropError) as caught:
            client.jobs.get("x")
        return caught.value


@pytest.mark.parametrize("status", KINDS)
def test_both_faces_raise_the_same(status: int) -> None:
    one, other = over_http(status), over_grpc(status)
    assert type(one) is type(other) is KINDS[status][0]
    assert vars(one) == vars(other)
    assert (one.code, one.message, one.request_id, one.retry_after) == ("a_code", "what happened", "req_1", 7.0)
    assert one.errors == (strop.FieldError("steps", "this is 0", "send 1 or more"),)


@pytest.mark.parametrize(
    ("status", "kind"), [(502, strop.Unavailable), (403, strop.PermissionDenied), (418, strop.StropError)]
)
def test_a_proxy_between_is_told_by_its_status(status: int, kind: type[strop.StropError]) -> None:
    reply = Reply(status, b"<html>")
    with http_server({"/jobs/x/artifacts": [reply]}) as http, strop.Client(http.url, retries=0) as client:
        with pytest.raises(strop.StropError, match=f"/jobs/x/artifacts answered {status}") as caught:
            client.artifacts.list("x")
        assert type(caught.value) is kind


def test_too_many_calls_at_once_are_told_by_grpc_itself_and_may_be_sent_again() -> None:
    held, begun = Event(), Event()

    def hold(request: object, context: grpc.ServicerContext) -> jobs_pb2.JobsGetResponse:
        begun.set()
        held.wait(30)
        return jobs_pb2.JobsGetResponse(job=job())

    with (
        rpc_server(at_once=1, Get=[hold]) as rpc,
        strop.Client(grpc_url=f"127.0.0.1:{rpc.port}", retries=0) as one,
        strop.Client(grpc_url=f"127.0.0.1:{rpc.port}", retries=5) as patient,
        ThreadPoolExecutor() as others,
    ):
        first = others.submit(one.jobs.get, "x")
        try:
            assert begun.wait(30)
            with pytest.raises(strop.RateLimited, match=r"(?i)exceeded") as caught:
                one.jobs.get("x")
            assert caught.value.status == 429
            second = others.submit(patient.jobs.get, "x")
        finally:
            held.set()
        assert first.result(30) == second.result(30)


def test_a_message_larger_than_grpc_takes_is_too_large() -> None:
    with (
        rpc_server(Create=[refuse(grpc.StatusCode.INTERNAL)]) as rpc,
        strop.Client(grpc_url=f"127.0.0.1:{rpc.port}", retries=0) as client,
        pytest.raises(strop.TooLarge, match="larger than max"),
    ):
        client.jobs.create(base_model="x" * 5 * 2**20)


def test_broken_details_over_grpc_leave_the_code_to_tell() -> None:
    behaviour = refuse(grpc.StatusCode.NOT_FOUND, "no such job", ("grpc-status-details-bin", b"\xff\xff"))
    with (
        rpc_server(Get=[behaviour]) as rpc,
        strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client,
        pytest.raises(strop.NotFound, match="no such job"),
    ):
        client.jobs.get("x")


def test_an_unknown_status_code_is_an_error_all_the_same() -> None:
    odd = refuse(grpc.StatusCode.DATA_LOSS, "odd")
    with (
        rpc_server(Get=[odd]) as rpc,
        strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client,
        pytest.raises(strop.StropError, match="odd"),
    ):
        client.jobs.get("x")


def test_another_service_at_the_address_is_said_in_a_sentence() -> None:
    replies = {"/.well-known/strop": [Reply(body=b"<html>hello")], "/jobs/x/artifacts": [Reply(body={"data": [{}]})]}
    with http_server(replies) as http, strop.Client(http.url) as client:
        with pytest.raises(strop.StropError, match="is the URL right"):
            client.jobs.get("x")
        with pytest.raises(strop.StropError, match="is the URL right"):
            client.artifacts.list("x")


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for name in strop.__all__:
        found = getattr(strop, name)
        if isinstance(found, type) and issubclass(found, Exception):
            assert f"{name} " in drawn or f"{name}\n" in drawn
