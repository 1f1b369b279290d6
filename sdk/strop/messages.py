"""Protocol buffers to plain values by the wire's names, and a job's fields into the message that creates it."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from strop.errors import FieldError, InvalidRequest
from strop.v1.jobs_pb2 import JobsCloneRequest, JobsCreateRequest

WHOLE_BELOW: Final = 2**53
"""Whole numbers that a double holds exactly."""


NEVER_EMPTY: Final = frozenset({("prompts",), ("lora", "targets")})
"""Lists that a message would drop where they are empty, and that the service refuses so."""


def plain(message: Message) -> dict[str, Any]:
    """A message as the REST face's JSON has it: every field, None where it is absent; timestamps as datetimes."""
    return {each.name: _field(message, each) for each in message.DESCRIPTOR.fields}


def _field(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.has_presence and not message.HasField(field.name):
        return None
    if field.message_type and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_single(each, field) for each in value]
    return _single(value, field)


def _single(value: Any, field: FieldDescriptor) -> Any:
    if isinstance(value, Struct):
        return {name: _json(each) for name, each in value.fields.items()}
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC)
    if isinstance(value, Message):
        return plain(value)
    if field.enum_type:  # JOB_STATE_QUEUED → queued; a number of a newer service has no name here
        named = field.enum_type.values_by_number.get(value)
        return named.name.removeprefix("JOB_STATE_").lower() if named else "unknown"
    return value


def _json(value: Value) -> Any:
    """A Struct knows doubles only: a whole one is a whole number."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {name: _json(each) for name, each in value.struct_value.fields.items()}
    if kind == "list_value":
        return _items(value.list_value)
    if kind == "number_value":
        number = value.number_value
        whole = math.isfinite(number) and number.is_integer() and abs(number) < WHOLE_BELOW
        return int(number) if whole else number
    return None if kind in (None, "null_value") else getattr(value, kind)


def _items(values: ListValue) -> list[Any]:
    return [_json(each) for each in values.values]


def create_request(fields: Mapping[str, Any]) -> JobsCreateRequest:
    """The body of POST /jobs as a message; None is left out. Raises InvalidRequest for what no message can carry."""
    wrong: list[FieldError] = []
    message = JobsCreateRequest()
    _fill(message, fields, (), wrong)
    _refuse(wrong)
    return message


def clone_request(id: str, overrides: Mapping[str, Any]) -> JobsCloneRequest:
    """A merge patch as a message. Raises InvalidRequest for what no message can carry: a Struct knows doubles only."""
    wrong: list[FieldError] = []
    message = JobsCloneRequest(id=id)
    if not _is_json(overrides):
        wrong.append(FieldError("overrides", "they are not JSON", "send an object of JSON values"))
    else:
        wrong += [
            FieldError(path, f"{number} is more than a message can carry here", "clone by POST /jobs/{id}/clone")
            for path, number in _too_large(overrides)
        ]
    _refuse(wrong)
    message.overrides.update(overrides)
    return message


def _too_large(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _too_large(each, (*path, str(name)))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, each in enumerate(value):
            yield from _too_large(each, (*path, str(index)))
    elif isinstance(value, int) and abs(value) > WHOLE_BELOW:
        yield ".".join(path), value


def _refuse(wrong: Sequence[FieldError]) -> None:
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InvalidRequest(f"{wrong[0].path}: {wrong[0].message}{more}", errors=tuple(wrong))


def _fill(message: Message, given: Mapping[str, Any], path: tuple[str, ...], wrong: list[FieldError]) -> None:
    known = {each.name: each for each in message.DESCRIPTOR.fields if each.name != "idempotency_key"}
    for name, value in given.items():
        place = (*path, str(name))
        if name not in known:
            remedy = f"remove it; known here: {', '.join(known)}"
            wrong.append(FieldError(".".join(place), "this field is not known", remedy))
        elif value is not None:
            _put(message, known[name], value, place, wrong)


def _put(message: Message, field: FieldDescriptor, value: Any, place: tuple[str, ...], wrong: list[FieldError]) -> None:
    nested = field.message_type
    if nested and nested.GetOptions().map_entry:
        fits = isinstance(value, Mapping) and all(isinstance(each, str) for pair in value.items() for each in pair)
        remedy = "send an object of strings"
    elif nested:
        fits = isinstance(value, Mapping) and (nested is not Struct.DESCRIPTOR or _is_json(value))
        remedy = "send a JSON object"
    elif field.is_repeated:
        fits = isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(e, str) for e in value)
        remedy = "send a list of strings"
        if fits and not value and place in NEVER_EMPTY:
            fits, remedy = False, "send at least one, or leave it out"
    else:
        types, kind = KINDS[field.cpp_type]
        fits = isinstance(value, types) and (not isinstance(value, bool) or bool in types)
        remedy = f"send {kind}"
    if not fits:
        wrong.append(FieldError(".".join(place), f"this is {json.dumps(value, default=repr)[:80]}", remedy))
    elif nested and nested is Struct.DESCRIPTOR:
        getattr(message, field.name).update(value)
        getattr(message, field.name).SetInParent()
    elif nested and not nested.GetOptions().map_entry:
        getattr(message, field.name).SetInParent()
        _fill(getattr(message, field.name), value, place, wrong)
    elif nested:
        getattr(message, field.name).update(value)
    elif field.is_repeated:
        getattr(message, field.name).extend(value)
    else:
        try:
            setattr(message, field.name, value)
        except ValueError:
            wrong.append(FieldError(".".join(place), f"{value} is out of range", remedy))


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


KINDS: Final[Mapping[int, tuple[tuple[type, ...], str]]] = {
    FieldDescriptor.CPPTYPE_INT64: ((int,), "a whole number below 2^63"),
    FieldDescriptor.CPPTYPE_DOUBLE: ((int, float), "a number"),
    FieldDescriptor.CPPTYPE_STRING: ((str,), "a string"),
    FieldDescriptor.CPPTYPE_BOOL: ((bool,), "true or false"),
}
"""What a single field of each kind takes, and how to say so."""
