"""A problem → google.rpc.Status: the same content as on the REST face, in the details that gRPC clients look for."""

from collections.abc import Mapping
from typing import NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2, status_pb2
from strop.v1 import problems_pb2

from service.domain.errors import StropError
from service.wire import problems

DETAILS_KEY = "grpc-status-details-bin"
MAX_DETAILS = 4_500
"""Bytes of a Status. Clients drop a call whose trailing metadata is above 8 KiB, so the list of wrong fields has an end."""
MAX_STATUS_MESSAGE, MAX_PATH, MAX_TEXT, MAX_REMEDY = 128, 96, 256, 512
"""Characters. Callers' own words stand in all but remedies; the status's message is percent-encoded besides."""


class UnknownMethod(StropError):
    """There is no such method; the methods are in proto/strop/v1."""

    code = "method_not_found"


class TooManyWatches(StropError):
    """This gateway carries as many watches as it can; read the job instead, or try again later."""

    code = "too_many_watches"
    retry_after = 30


STATUSES: Mapping[type[StropError], int] = {**problems.STATUSES, UnknownMethod: 501, TooManyWatches: 429}
CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""HTTP status → code."""


class Refusal(NamedTuple):
    """What `context.abort` takes."""

    code: grpc.StatusCode
    message: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def of(error: StropError, request_id: str) -> Refusal:
    return _refusal(problems.of(error, request_id, STATUSES), getattr(error, "retry_after", None))


def unexpected(request_id: str) -> Refusal:
    return _refusal(problems.unexpected(request_id), None)


def _refusal(problem: problems.Problem, retry_after: int | None) -> Refusal:
    code = CODES[problem.status]
    fields = [
        problems.FieldProblem(
            path=_cut(each.path, MAX_PATH), message=_cut(each.message, MAX_TEXT), remedy=_cut(each.remedy, MAX_REMEDY)
        )
        for each in problem.errors[:32]
    ]
    shown = problem.model_copy(update={"detail": _cut(problem.detail, MAX_TEXT), "errors": fields})
    while (status := _status(shown, code, retry_after)).ByteSize() > MAX_DETAILS:
        shown.errors.pop()
    metadata = ((DETAILS_KEY, status.SerializeToString()), ("x-request-id", problem.request_id))
    return Refusal(code, status.message, metadata)


def _status(problem: problems.Problem, code: grpc.StatusCode, retry_after: int | None) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=_cut(problem.detail, MAX_STATUS_MESSAGE))
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=problem.code, domain="strop"))
    if problem.errors:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=each.path, description=f"{each.message}; {each.remedy}")
            for each in problem.errors
        ]
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
    if retry_after is not None:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_after)))
    status.details.add().Pack(ParseDict(problem.model_dump(), problems_pb2.Problem()))
    return status


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
