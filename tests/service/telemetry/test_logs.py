"""Logs are one JSON object a line, whatever is logged."""

import json
import logging

import pytest

from service.telemetry.logs import JsonLines


def line(*given: object, level: int = logging.INFO, **more: object) -> dict[str, object]:
    record = logging.LogRecord("service.x", level, "x.py", 1, str(given[0]), given[1:], None)
    vars(record).update(more)
    text = JsonLines("gateway").format(record)
    assert "\n" not in text
    read: dict[str, object] = json.loads(text)
    return read


def test_the_same_members_everywhere() -> None:
    said = line("%s: %d", "reaped", 3, level=logging.WARNING)
    assert (said["level"], said["process"], said["logger"], said["message"]) == (
        "warning", "gateway", "service.x", "reaped: 3",
    )  # fmt: skip
    assert str(said["time"]).endswith("Z")


def test_extras_stand_beside_them() -> None:
    assert line("x", request_id="r1", odd=object)["request_id"] == "r1"


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31m", "\ud800", "ü"])
def test_any_text_stays_on_its_line(text: str) -> None:
    assert line("%s", text)["message"] == text


def test_an_exception_is_told_whole() -> None:
    try:
        raise KeyError("gone")
    except KeyError as error:
        said = line("failed", exc_info=(type(error), error, error.__traceback__))
    assert "KeyError: 'gone'" in str(said["exception"])
