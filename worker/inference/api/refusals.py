"""Refusals of this endpoint: problem+json with OpenAI's `error` object in it, so that its clients show our sentence.

RFC 9457 lets a problem have members of its own (§3.2); OpenAI's clients read `error` and look no further.
"""

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from service.domain.errors import JobFailure
from service.wire.links import LinkExpired, LinkInvalid
from service.wire.problems import MEDIA_TYPE, Problem, Statuses
from worker.inference.engine.requests import AdapterCorrupt, QueueFull

STATUSES: Statuses = {
    QueueFull: 429,
    AdapterCorrupt: 409,
    JobFailure: 503,  # a base model that cannot be loaded
    LinkExpired: 410,
    LinkInvalid: 403,
}
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
FINAL = 409
"""OpenAI's clients send a request again that met a conflict; ours stay as they are."""


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The same problem as every face's, and `error` beside it."""
    body = {**problem.model_dump(), "error": error_of(problem)}
    again = {"x-should-retry": "false"} if problem.status == FINAL else {}
    return JSONResponse(body, problem.status, {**again, **(headers or {})}, media_type=MEDIA_TYPE)


def error_of(problem: Problem) -> dict[str, str | None]:
    """{message, type, param, code}; the message ends with the remedy."""
    first = problem.errors[0] if problem.errors else None
    message = f"{problem.detail}; {first.remedy}" if first else problem.detail
    kind = TYPES.get(problem.status, "server_error" if problem.status >= 500 else "invalid_request_error")
    return {"message": message, "type": kind, "param": first.path if first else None, "code": problem.code}
