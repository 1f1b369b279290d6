"""Cursor pages: a page ends at a position in a stable order, never at an offset: each costs the same."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from service.domain.errors import FieldError, InvalidRequest

MAX_PAGE = 100
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order (created_at, id), newest first: the page goes on after it."""

    created_at: datetime
    id: str

    def cursor(self) -> str:
        """As callers carry it: opaque to them."""
        return urlsafe_b64encode(f"{self.created_at.isoformat()} {self.id}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, cursor: str) -> "Position":
        """Read a cursor that we gave out. Raises InvalidRequest for any other."""
        try:
            moment, _, last = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
            position = cls(datetime.fromisoformat(moment), last)
        except (binascii.Error, ValueError):
            position = None
        if position is None or position.created_at.tzinfo is None or not position.id.isprintable():
            remedy = "pass the next_cursor of the page before, as it is, or leave it out for the first page"
            raise InvalidRequest(
                "the cursor is not one of ours",
                errors=(FieldError("cursor", "not a cursor", remedy),),
                code="invalid_cursor",
            )
        return position


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """`next_cursor` leads to the next page; None on the last."""

    items: tuple[Item, ...]
    has_more: bool
    next_cursor: str | None


def cut(rows: Sequence[Item], limit: int, cursor_of: Callable[[Item], str]) -> Page[Item]:
    """Make a page of at most `limit` out of rows that were read with `limit` + 1."""
    items, has_more = tuple(rows[:limit]), len(rows) > limit
    return Page(items, has_more, cursor_of(items[-1]) if has_more else None)


def check_limit(limit: int) -> int:
    """Raises InvalidRequest unless 1 ≤ limit ≤ MAX_PAGE."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(
            "the page size is out of bounds",
            errors=(
                FieldError("limit", f"{limit} is not within 1 and {MAX_PAGE}", f"ask for 1 to {MAX_PAGE} at a time"),
            ),
        )
    return limit
