"""Request bodies, read strictly: what a caller wrote is taken as it stands or refused, never guessed at.

FastAPI alone takes NaN, repeated names, "60" and true for a whole number, and a JSON body under any name.
`StrictRoute` reads a body by RFC 8259 before FastAPI sees it, validates it in pydantic's strict JSON mode (a
number is a number), and hands FastAPI the finished model. The OpenAPI file stays FastAPI's own.
"""

import json
import math
from collections.abc import Callable, Coroutine, Iterator
from itertools import islice
from typing import Any, TypeVar

from fastapi import params
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.domain.errors import FieldError, InvalidRequest
from service.domain.recipes import MAX_PROMPTS
from service.wire import fields
from service.wire.problems import UnsupportedMediaType

Model = TypeVar("Model", bound=BaseModel)

MAX_NAMES = 10_000
"""Names of all objects of a body together; the longest documented body has some hundreds."""
MAX_ITEMS = 2 * MAX_PROMPTS
"""Items of one array. What is a little too long is told by its own field's bound."""


class StrictRoute(APIRoute):
    """`APIRouter(route_class=StrictRoute)`: JSON bodies become models strictly; other content types are 415."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        field = self.body_field
        if field is None:
            return handle
        if isinstance(field.field_info, params.Form):

            async def form(request: Request) -> Response:
                require_type(request, "multipart/form-data")
                return await handle(request)

            return form
        model = field.field_info.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel), "a JSON body is one model"
        required = field.field_info.is_required()

        async def strict(request: Request) -> Response:
            raw = await request.body()
            if not raw and not required:
                return await handle(request)
            require_type(request, "application/json")
            request._json = await run_in_threadpool(parse, model, raw)  # megabytes must not hold up the others
            return await handle(request)

        return strict


def require_type(request: Request, wanted: str) -> None:
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given != wanted:
        raise UnsupportedMediaType(f"The body is {given or 'of no stated type'}; send it as {wanted}.")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"The body is encoded as {encoding}; send it without Content-Encoding.")


def parse(model: type[Model], raw: bytes) -> Model:
    """Read one JSON object into `model`, strictly. Raises InvalidRequest with one FieldError for each of the first places."""
    value = read_json(raw)
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        errors, more = fields.of_body(error.errors(include_url=False, include_input=False), value, model)
        raise InvalidRequest(errors=errors, more=more) from None


def read_json(raw: bytes) -> Any:
    """RFC 8259 and no more: UTF-8, finite numbers, names once. Raises InvalidRequest with code invalid_json.

    And no more than could be documented, before anything is compared with a model, which would have a word for each of a
    million faults: MAX_NAMES, MAX_ITEMS. Raises InvalidRequest.
    """
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_Objects())
    except UnicodeDecodeError:
        raise _not_json("is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _not_json(f"is not JSON: {error.msg} at {where}" if raw.strip() else "is empty") from None
    except RecursionError:
        raise _not_json("is nested too deeply") from None
    except ValueError:  # Python's bound on the digits of a whole number
        raise _not_json("holds a number of thousands of digits") from None
    wrong = tuple(islice(_unfit(value, ()), fields.TOLD))
    if wrong:
        raise InvalidRequest(errors=wrong, code="invalid_json")
    return value


class _Repeated(dict[str, Any]):
    """An object in which a name stood twice."""

    name: str


class _Objects:
    """Makes the objects of one body."""

    def __init__(self) -> None:
        self.names = 0

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.names += len(pairs)
        if self.names > MAX_NAMES:
            what = f"the body has more than {MAX_NAMES} names, more than any request"
            raise InvalidRequest(errors=(FieldError("", what, "send the documented fields only"),))
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        repeated, seen = _Repeated(value), set[str]()
        for name, _ in pairs:
            if name in seen:
                repeated.name = name
                break
            seen.add(name)
        return repeated


def _unfit(value: Any, path: tuple[str | int, ...]) -> Iterator[FieldError]:
    if isinstance(value, dict):
        if isinstance(value, _Repeated):
            yield FieldError(fields.dotted((*path, value.name)), "this name stands twice", "keep one of the two")
        for name, each in value.items():
            yield from _unfit(name, (*path, name))
            yield from _unfit(each, (*path, name))
    elif isinstance(value, list):
        if len(value) > MAX_ITEMS:
            what = f"has {len(value)} items, and no array of a request has more than {MAX_ITEMS}"
            raise InvalidRequest(errors=(FieldError(fields.dotted(path), what, "send fewer"),))
        for index, each in enumerate(value):
            yield from _unfit(each, (*path, index))
    elif isinstance(value, float) and not math.isfinite(value):
        yield FieldError(fields.dotted(path), "NaN and Infinity are not JSON numbers", "send a finite number")
    elif isinstance(value, str) and not _storable(value):
        yield FieldError(fields.dotted(path), "holds a NUL or half of a surrogate pair", "remove it")


def _storable(text: str) -> bool:
    return "\0" not in text and (text.isascii() or not any("\ud800" <= mark <= "\udfff" for mark in text))


def _not_json(what: str) -> InvalidRequest:
    wrong = FieldError("", f"the body {what}", "send one JSON object in UTF-8")
    return InvalidRequest(f"The body {what}.", errors=(wrong,), code="invalid_json")
