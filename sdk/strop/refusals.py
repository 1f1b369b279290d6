"""Refusals of both faces into the one tree of errors: problem+json over HTTP, google.rpc.Status over gRPC.

A Strop refusal over gRPC carries the REST face's problem whole, so both end in `_error`. What comes from something between
(a proxy, a closed port) has no problem in it, and is told by its status alone.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import grpc
import httpx
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from strop import errors
from strop.errors import FieldError, StropError
from strop.messages import plain
from strop.v1.problems_pb2 import Problem

CLASSES: Final[Mapping[int, type[StropError]]] = {
    400: errors.InvalidRequest,
    401: errors.Unauthenticated,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    415: errors.InvalidRequest,
    422: errors.InvalidRequest,
    429: errors.RateLimited,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}
"""The HTTP status, which a problem carries over gRPC too → class; all else is StropError."""

STATUSES: Final[Mapping[Any, int]] = {
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

_SIZE: Final = re.compile(r"larger than max|size exceeds|exceeds maximum size")
"""The words of gRPC's own refusals of messages and metadata; the code alone may also mean: too many calls at once."""


def of_response(response: httpx.Response) -> StropError:
    """The error that an HTTP answer without success means. Its body has been read."""
    try:
        body = response.json()
    except ValueError:
        body = None
    problem = body if isinstance(body, dict) and "code" in body else {}
    problem.setdefault("request_id", response.headers.get("x-request-id"))
    said = f"{response.request.url.copy_with(query=None)} answered {response.status_code}"
    if response.next_request:
        said += (
            f" and points to {response.next_request.url.copy_with(query=None)}; give the address that needs no redirect"
        )
    return _error(response.status_code, problem, said, _seconds(response.headers.get("retry-after")))


def of_problem(problem: dict[str, Any]) -> StropError:
    """The error that a problem means which came in the middle of a stream, where there was no status any more."""
    return _error(problem["status"], problem, problem["detail"], None)


def of_call(error: Any, target: str) -> StropError:
    """The error that a failed gRPC call (a grpc.RpcError that is a grpc.Call) means."""
    metadata = {each.key: each.value for each in error.trailing_metadata() or ()}
    problem: dict[str, Any] = {"request_id": metadata.get("x-request-id")}
    retry_after = None
    for detail in _details(metadata.get("grpc-status-details-bin", b"")):
        if detail.Is(Problem.DESCRIPTOR):
            problem = plain(_unpacked(detail, Problem()))
        elif detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            problem.setdefault("code", _unpacked(detail, error_details_pb2.ErrorInfo()).reason)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_after = _unpacked(detail, error_details_pb2.RetryInfo()).retry_delay.ToTimedelta().total_seconds()
    words = (error.details() or error.code().name).rstrip(".")
    status = problem.get("status") or STATUSES.get(error.code(), 500)
    if not problem.get("status") and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _SIZE.search(words):
        status = 413
    return _error(status, problem, f"gRPC at {target}: {words}", retry_after)


def of_transport(error: httpx.TransportError, url: str) -> errors.Unavailable:
    """No answer at all."""
    code = "no_answer_in_time" if isinstance(error, httpx.TimeoutException) else "unreachable"
    return errors.Unavailable(f"{url}: {str(error) or type(error).__name__}", code=code)


def _error(status: int, problem: Mapping[str, Any], said: str, retry_after: float | None) -> StropError:
    return CLASSES.get(status, StropError)(
        problem.get("detail") or said,
        code=problem.get("code"),
        errors=tuple(
            FieldError(str(each.get("path", "")), str(each.get("message", "")), str(each.get("remedy", "")))
            for each in problem.get("errors") or ()
        ),
        request_id=problem.get("request_id"),
        retry_after=retry_after,
        status=status,
    )


def _details(raw: bytes) -> list[Any]:
    try:
        return list(Status.FromString(raw).details)
    except DecodeError:
        return []


def _unpacked(detail: Any, into: Any) -> Any:
    detail.Unpack(into)
    return into


def _seconds(header: str | None) -> float | None:
    """Retry-After: seconds, or a date (RFC 9110 §10.2.3)."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
