"""What endpoints are given: who asks (the guard found it, before routing), and the operations (service.app built them)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.security import HTTPBearer

from service.domain.principals import Principal
from service.operations import once
from service.operations.adapters import Adapters
from service.operations.artifacts import Artifacts
from service.operations.files import Files
from service.operations.jobs import Jobs
from service.operations.models import Models
from service.operations.receipts import Receipts
from service.wire.bodies import StrictRoute
from service.wire.links import Links
from service.wire.problems import Problem
from service.wire.shapes import Places

Made = TypeVar("Made")
_documented = HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer STROP_API_KEY`")


@dataclass(frozen=True, slots=True)
class Operations:
    """Everything that this face may ask. `ready` raises Unavailable when the database does not answer.

    `url`: where callers reach this face; None: as each request names it.
    """

    jobs: Jobs
    files: Files
    models: Models
    adapters: Adapters
    artifacts: Artifacts
    receipts: Receipts
    links: Links
    url: str | None
    ready: Callable[[], None]
    places: Callable[[], Places]


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.operations
    return operations


def _principal(request: Request, _: Annotated[object, Depends(_documented)]) -> Principal:
    """The dependency on `_documented` only writes the key into the OpenAPI file; the guard has already checked it."""
    principal: Principal = request.state.principal
    return principal


Ask: TypeAlias = Annotated[Operations, Depends(_operations)]
Asker: TypeAlias = Annotated[Principal, Depends(_principal)]


IdempotencyKey: TypeAlias = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        json_schema_extra={"minLength": 1, "maxLength": 255},  # checked by the operation, for every face alike
        description="The same key with the same body does it once, however often it is sent within a day.",
    ),
]


async def _keyed(request: Request, key: IdempotencyKey = None) -> once.Keyed | None:
    """The key with the digest of the very bytes that were sent. For bodies in JSON or none; a form has been read by now."""
    query = f"?{request.url.query}" if request.url.query else ""
    return once.keyed(key, request.url.path + query, await request.body(), method=request.method)


Keyed: TypeAlias = Annotated[once.Keyed | None, Depends(_keyed)]


def marked(response: Response, made: Made, replayed: bool) -> Made:
    """`made`, with the mark of an answer that an earlier request with the same key brought about."""
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return made


def router(tag: str) -> APIRouter:
    return APIRouter(tags=[tag], route_class=StrictRoute)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: problems, under the statuses that it can answer beside 401."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": MEANING[status], "content": content} for status in (401, *statuses)}


MEANING = {
    401: "No key, or a wrong one.",
    404: "There is nothing of that name here.",
    409: "Not in a state that allows this.",
    413: "The body is larger than the bound.",
    415: "Not the content type that this route takes.",
    416: "No bytes in that range.",
    422: "The request does not fit the documented shape or bounds; `errors` names each place and remedy.",
    429: "The queue is full; try again after Retry-After seconds.",
    503: "A part that this needs is away; try again after Retry-After seconds.",
}
__all__ = [
    "Ask",
    "Asker",
    "IdempotencyKey",
    "Keyed",
    "Operations",
    "Problem",
    "marked",
    "refusals",
    "router",
]
