"""From what came over the wire to records, and back to JSON: by the fields' names and types, so that nothing is listed twice."""

import dataclasses
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from strop.errors import StropError

Record = TypeVar("Record")


def read(kind: type[Record], data: Any) -> Record:
    """`data` as a record: names that `kind` lacks are left out, what is null or not there takes the default.

    Raises StropError where it cannot be one.
    """
    try:
        given = {
            name: _value(hint, data[name]) for name, hint in get_type_hints(kind).items() if data.get(name) is not None
        }
        return kind(**given)
    except (TypeError, ValueError, AttributeError) as error:
        message = f"the answer is not a {kind.__name__.lower()} of Strop ({error}); is the URL right?"
        raise StropError(message, code="unreadable_answer") from error


def as_json(record: Any) -> Any:
    """A record in the JSON of the REST face."""
    if dataclasses.is_dataclass(record):
        return {each.name: as_json(getattr(record, each.name)) for each in dataclasses.fields(record)}
    if isinstance(record, tuple | list):
        return [as_json(each) for each in record]
    if isinstance(record, Mapping):
        return {name: as_json(value) for name, value in record.items()}
    if isinstance(record, datetime):
        return record.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return record


def _value(hint: Any, value: Any) -> Any:
    if get_origin(hint) in (types.UnionType, Union):  # X | None
        return _value(next(each for each in get_args(hint) if each is not type(None)), value)
    if get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], each) for each in value)
    if hint is datetime:
        return value if isinstance(value, datetime) else datetime.fromisoformat(value)
    if dataclasses.is_dataclass(hint):
        return read(hint, value)  # type: ignore[arg-type]
    return hint(value) if isinstance(hint, type) else value
