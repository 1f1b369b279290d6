"""The one mapping from the domain's errors to HTTP: every refusal is application/problem+json (RFC 9457).

`of` makes the content, which is the same on every face; `from_error` puts it into an HTTP answer.

InvalidRequest 422 · NotFound 404 · Conflict 409 · Unauthenticated 401 · PermissionDenied 403 · TooLarge 413 ·
Unavailable 503 · FenceLost 409 · UnsupportedMediaType 415 · RangeNotSatisfiable 416 · Damaged 500 · all else
500 too, without internals.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from service.domain import errors
from service.domain.errors import FieldError, InvalidRequest, StropError
from service.wire import fields

MEDIA_TYPE = "application/problem+json"
logger = logging.getLogger(__name__)


class UnsupportedMediaType(StropError):
    """The body is not of the content type that this route takes."""

    code = "unsupported_media_type"


class RangeNotSatisfiable(StropError):
    """The file has no bytes in the range asked for."""

    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes; ask for a range that begins below that.")
        self.size = size


STATUSES: dict[type[StropError], int] = {
    InvalidRequest: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unauthenticated: 401,
    errors.PermissionDenied: 403,
    errors.TooLarge: 413,
    errors.Unavailable: 503,
    errors.FenceLost: 409,
    errors.Damaged: 500,
    UnsupportedMediaType: 415,
    RangeNotSatisfiable: 416,
}

PLAIN = {
    400: ("bad_request", "The request cannot be read."),
    404: ("route_not_found", "There is no such route; the routes are in /openapi.json."),
    405: ("method_not_allowed", "This route does not take that method; the ones it takes are in the Allow header."),
}
"""Refusals that the framework makes by itself: status → code, title."""


class FieldProblem(BaseModel):
    """One thing wrong with a request."""

    path: str = Field(description="Where: the dotted path of the field in the body, or the parameter's name.")
    message: str = Field(description="What is wrong.")
    remedy: str = Field(description="What to do about it.")


class Problem(BaseModel):
    """Every refusal."""

    type: str = Field(description="`urn:strop:problem:` and the code.")
    title: str = Field(description="What the code means, the same for each occurrence.")
    status: int
    detail: str = Field(description="What happened this time.")
    code: str = Field(description="Stable; decide by this one.")
    errors: list[FieldProblem] = Field(
        description="One entry a wrong field, the first 20 of them; empty when no field is to blame."
    )
    request_id: str = Field(description="Also in the header X-Request-ID; name it when you ask for help.")


Statuses: TypeAlias = Mapping[type[StropError], int]
Respond: TypeAlias = Callable[[Problem, Mapping[str, str] | None], Response]
"""Puts a problem and its headers into an HTTP answer."""


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(problem.model_dump(), problem.status, dict(headers or {}), media_type=MEDIA_TYPE)


def install(app: FastAPI, statuses: Statuses | None = None, respond: Respond = respond) -> None:
    """Answer every error that an endpoint of `app` raises with a problem. `statuses` adds classes of the app's own.

    The handlers are async so that a refusal waits for no thread.
    """
    table = {**STATUSES, **(statuses or {})}

    async def strop_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, StropError)
        return from_error(error, request_id(request), table, respond)

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, StropError):  # FastAPI wraps what is raised while it reads a body
            return from_error(error.__cause__, request_id(request), table, respond)
        code, title = PLAIN.get(error.status_code, ("http_error", "The request was refused."))
        return respond(_problem(error.status_code, code, title, title, request_id(request)), error.headers)

    async def unfit(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        wrong = InvalidRequest(errors=fields.of_parameters(error.errors()))
        return from_error(wrong, request_id(request), table, respond)

    app.add_exception_handler(StropError, strop_error)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(RequestValidationError, unfit)


def of(error: StropError, request_id: str, statuses: Statuses = STATUSES) -> Problem:
    """The nearest class in `statuses` gives the status; a class without one is ours to mend, so it is a 500."""
    named = next((kind for kind in type(error).__mro__ if kind in statuses), None)
    if named is None:
        logger.error("unmapped error", exc_info=error, extra={"request_id": request_id})
        return unexpected(request_id)
    title = (type(error).__doc__ or "").split("\n")[0]
    wrong = error.errors if isinstance(error, InvalidRequest) else ()
    detail = (
        _sentence(error) if isinstance(error, InvalidRequest) and wrong and error.message == title else error.message
    )
    return _problem(statuses[named], error.code, title, detail, request_id, wrong=wrong)


def unexpected(request_id: str) -> Problem:
    """500. What happened is in the log under the request id, and nowhere else."""
    title = "Something went wrong in Strop."
    return _problem(500, "internal_error", title, f"{title} The log has it under request {request_id}.", request_id)


def from_error(
    error: StropError, request_id: str, statuses: Statuses = STATUSES, respond: Respond = respond
) -> Response:
    problem = of(error, request_id, statuses)
    headers: dict[str, str] = {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="strop"'
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return respond(problem, headers)


def _problem(
    status: int, code: str, title: str, detail: str, request_id: str, *, wrong: tuple[FieldError, ...] = ()
) -> Problem:
    return Problem(
        type=f"urn:strop:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        errors=[FieldProblem(path=each.path, message=each.message, remedy=each.remedy) for each in wrong],
        request_id=request_id,
    )


def request_id(request: Request) -> str:
    """The id that the guard gave this request."""
    return str(request.scope["state"]["request_id"])


def _sentence(error: InvalidRequest) -> str:
    first, others = error.errors[0], len(error.errors) - 1 + error.more
    more = f" (and {others} more)" if others else ""
    return f"{first.path or 'the body'}: {first.message}{more}"
