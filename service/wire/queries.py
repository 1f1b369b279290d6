"""What reading takes beside an id: a state, a cursor, a page size, where to go on. The same bounds on every face."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.domain.adapters import MAX_REFERENCE
from service.domain.errors import InvalidRequest
from service.domain.jobs import Kind, State
from service.wire import fields

MAX_MODEL_NAME = MAX_REFERENCE
Query = TypeVar("Query", bound=BaseModel)


class JobsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    state: State | None = Field(default=None, description="Only jobs in this state.")
    kind: Kind | None = Field(default=None, description="Only jobs of this kind.")
    cursor: str | None = Field(default=None, max_length=512, description="next_cursor of the page before.")
    limit: int = Field(default=20, ge=1, le=100, description="Jobs a page.")


class EventsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: int = Field(default=0, ge=0, lt=2**63, description="Only events with a higher number.")
    limit: int = Field(default=100, ge=1, le=100, description="Events a page.")


class ModelQuery(BaseModel):
    name: str = Field(max_length=MAX_MODEL_NAME, description="A base model, an adapter, adapter@2, adapter@alias.")


def read(query: type[Query], given: dict[str, Any]) -> Query:
    """For a face without FastAPI, which reads these by itself. Raises InvalidRequest in the same words."""
    try:
        return query.model_validate(given)
    except ValidationError as error:
        found = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        raise InvalidRequest(errors=fields.of_parameters(found)) from None
