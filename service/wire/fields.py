"""pydantic's errors → FieldErrors: the dotted path that the caller wrote, what is wrong there, and the remedy."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from service.domain.errors import FieldError
from service.wire.remedies import Fault, Loc, Schema, node_at, remedy

TOLD = 20
"""Places that an answer tells of; of the others it has the number. A body may have a wrong one in every few bytes."""


def of_body(errors: Sequence[Any], body: Any, model: type[BaseModel]) -> tuple[tuple[FieldError, ...], int]:
    """`body` is the JSON value that failed against `model`. Alternatives of one place become one FieldError.

    The first TOLD places, and how many errors there are beside.
    """
    root = model.model_json_schema()
    found: dict[str, FieldError] = {}
    for number, error in enumerate(errors):
        node = node_at(root, error["loc"])
        loc = _written(error, body)
        if error["type"] == "value_error":
            loc = (*loc, *_named_field(str(error["ctx"]["error"]), node))
        path, message = dotted(loc), _message(error)
        if len(found) == TOLD and path not in found:
            return tuple(found.values()), len(errors) - number
        advice = remedy(Fault(error, node, node_at(root, error["loc"][:-1])))
        if path in found:
            message, advice = f"{found[path].message}; or: {message}", f"{found[path].remedy}, or {advice}"
        found[path] = FieldError(path, message, advice)
    return tuple(found.values()), 0


def of_parameters(errors: Sequence[Any]) -> tuple[FieldError, ...]:
    """Errors of query, path, header and form parameters, as FastAPI reports them: the first part of loc says which."""
    return tuple(
        FieldError(dotted(tuple(error["loc"][1:])), _message(error), remedy(Fault(error, _bounds(error), {})))
        for error in errors
    )


def dotted(loc: Loc) -> str:
    return ".".join(str(part) for part in loc)


def _written(error: Any, body: Any) -> Loc:
    """pydantic's loc without the names of union members: those parts that stand in the body, and a missing last one."""
    loc: Loc = error["loc"]
    path: list[str | int] = []
    part: Any
    for place, part in enumerate(loc):
        if (isinstance(body, dict) and part in body) or (isinstance(body, list) and isinstance(part, int)):
            body = body[part]
            path.append(part)
        elif error["type"] == "missing" and place == len(loc) - 1:
            path.append(part)
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        path.append(error["ctx"]["discriminator"].strip("'"))
    return tuple(path)


def _named_field(sentence: str, node: Schema) -> Loc:
    """A rule about several fields is raised for their object: its place is the first field that its sentence names."""
    words = re.findall(r"[a-z_]+", sentence)
    return next(((word,) for word in words if word in node.get("properties", {})), ())


def _message(error: Any) -> str:
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"]).split(": ", 1)[0]
        case "extra_forbidden":
            return "there is no such field"
        case "missing" | "union_tag_not_found":
            return "this field is needed"
        case "union_tag_invalid":
            return f"there is no {error['ctx']['tag']!r} here"
        case _:
            message: str = error["msg"]
            return message[:1].lower() + message[1:]


def _bounds(error: Any) -> Schema:
    """A parameter's schema is not at hand; its violated bound is in the error."""
    names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    return {names[name]: value for name, value in error.get("ctx", {}).items() if name in names}
