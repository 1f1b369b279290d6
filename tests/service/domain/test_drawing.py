"""The drawn life of a job says what the table says, arrow for arrow, and the committed page is that drawing."""

import re
from pathlib import Path

import pytest

from service.domain import drawing
from service.domain.jobs import OWNED, TERMINAL, TRANSITIONS, State

PAGE = Path(__file__).resolve().parents[3] / "docs" / "jobs-states.md"


def test_the_committed_page_is_what_the_table_gives() -> None:
    assert PAGE.read_text(encoding="utf-8") == drawing.page(), "say make states"


def test_every_arrow_of_the_table_is_drawn_once_and_no_other() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+):", drawing.page(), re.MULTILINE)
    assert sorted(drawn) == sorted((before, after) for before in State for after in TRANSITIONS[before])
    assert set(drawing.BY) == set(drawn)


def test_ends_and_owned_states_are_marked() -> None:
    assert set(re.findall(r"^    (\w+) --> \[\*\]$", drawing.page(), re.MULTILINE)) == TERMINAL
    (owned,) = re.findall(r"^    class (\S+) owned$", drawing.page(), re.MULTILINE)
    assert set(owned.split(",")) == OWNED


def test_an_arrow_without_a_word_stops_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSITIONS, State.SUCCEEDED, frozenset({State.QUEUED}))
    with pytest.raises(KeyError):
        drawing.page()
