"""Cursors lead back to where they were cut, and nothing else is a cursor."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InvalidRequest
from service.domain.pages import MAX_PAGE, Position, check_limit, cut


@given(st.datetimes(timezones=st.just(UTC)), st.from_regex(r"job_[0-9a-z]{26}", fullmatch=True))
def test_a_cursor_is_its_position(moment: datetime, job_id: str) -> None:
    assert Position.parse(Position(moment, job_id).cursor()) == Position(moment, job_id)


@given(st.text())
def test_any_other_text_is_refused_or_a_position(text: str) -> None:
    try:
        assert Position.parse(text).created_at.tzinfo is not None
    except InvalidRequest as refused:
        assert refused.errors[0].path == "cursor"


@given(st.lists(st.integers(), max_size=8), st.integers(1, 5))
def test_a_page_ends_where_the_next_begins(rows: list[int], limit: int) -> None:
    page = cut(rows, limit, str)
    assert list(page.items) == rows[:limit]
    assert page.has_more == (len(rows) > limit) == (page.next_cursor is not None)


@pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1])
def test_a_page_has_a_bound(limit: int) -> None:
    with pytest.raises(InvalidRequest):
        check_limit(limit)
