"""Messages ↔ what the faces share: a request becomes the JSON that REST would have been sent, a shape becomes a message.

Both by name, so that proto/strop/v1 cannot drift from the shapes without a test failing.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from pydantic import BaseModel
from strop.v1 import jobs_pb2

from service.domain.errors import FieldError, InvalidRequest
from service.wire import shapes

Filled = TypeVar("Filled", bound=Message)
WHOLE = 2**53
"""Above this a double no longer knows every whole number."""

STATE_NAME = "JOB_STATE_{}"


def decode(deserialise: Callable[[bytes], Message], raw: bytes) -> Message:
    """Raises InvalidRequest for bytes that are no such message, and for fields that this server does not know."""
    try:
        message = deserialise(raw)
    except DecodeError:
        remedy = "send the method's request message as proto/strop/v1 has it"
        wrong = (FieldError("", "the bytes are not this method's request", remedy),)
        raise InvalidRequest("The message cannot be read.", errors=wrong, code="invalid_message") from None
    unknown = tuple(_unknown(message))
    if unknown:
        remedy = "remove it, or ask a gateway whose proto/strop/v1 has it"
        raise InvalidRequest(errors=tuple(FieldError(path, "there is no such field", remedy) for path in unknown))
    return message


def json_of(message: Message) -> dict[str, Any]:
    """The fields that are present. A Struct knows only doubles: a whole one becomes a whole number."""
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def canonical(value: Any) -> bytes:
    """The same bytes for the same message. NaN is written as such, for the strict reader to refuse."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def fill(message: Filled, shape: BaseModel) -> Filled:
    """`message` with the shape's fields, by name."""
    filled: Filled = ParseDict(_said(shape), message)
    return filled


def fill_list(message: Filled, rows: Iterable[BaseModel]) -> Filled:
    """A message whose `data` is these rows."""
    filled: Filled = ParseDict({"data": [_said(each) for each in rows]}, message)
    return filled


def state_of(number: int) -> str:
    """As REST's query has it: `queued`; the bare number where there is no such state."""
    known = jobs_pb2.JobState.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix(STATE_NAME.format("")).lower() if known else str(number)


def _said(shape: BaseModel) -> dict[str, Any]:
    """What the REST face would send; its `object` says what a message's type says here. Of a recipe that cannot be read only the
    base model's name is sure to fit the message."""
    value = shape.model_dump(mode="json", by_alias=True)
    value.pop("object", None)
    if isinstance(shape, shapes.Job):
        value["state"] = STATE_NAME.format(shape.state.name)
        if "unreadable" in shape.recipe:
            value["recipe"] = {
                name: said for name in ("base_model",) if isinstance(said := shape.recipe.get(name), str)
            }
    return value


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.message_type.full_name == "google.protobuf.Struct":
        return _struct(value)
    return json_of(value)


def _struct(struct: Any) -> dict[str, Any]:
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _struct(value.struct_value)
        case "list_value":
            return [_plain(each) for each in value.list_value.values]
        case "number_value":
            number: float = value.number_value
            return int(number) if number.is_integer() and abs(number) <= WHOLE else number
        case None | "null_value":
            return None
        case kind:
            return getattr(value, kind)


def _unknown(message: Message, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The numbers of fields that this server's proto lacks, with the names around them."""
    for field in UnknownFieldSet(message):
        yield ".".join((*path, str(field.field_number)))
    for known, value in message.ListFields():
        if known.message_type is not None and not known.is_repeated:
            yield from _unknown(value, (*path, known.name))
