"""The steward's door to the inference endpoint, over a real socket: what is held against an adapter, and what is only not now."""

import pytest

from service.adapters.inference import LONGEST_RETRY_AFTER, RETRY_AFTER, Endpoint, NotMeasured
from service.domain.errors import Unavailable
from service.domain.receipts import NotNow
from tests.sdk.servers import Reply, http_server

ASKED, FOLLOWED = "/v1/receipts", "/v1/receipts/rcpt_1"
QUEUED = {"id": "rcpt_1", "status": "queued"}


def failure(*asked: Reply, followed: Reply | None = None) -> Exception:
    script = {ASKED: list(asked)} | ({FOLLOWED: [followed]} if followed else {})
    with http_server(script) as http:
        try:
            Endpoint(http.url, None).measure("red-things@1", lambda: None)
        except Exception as error:
            return error
    raise AssertionError("it measured nothing, and said so to nobody")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("60", 60), ("0", 1), ("999999", LONGEST_RETRY_AFTER), (None, RETRY_AFTER),
        ("Wed, 21 Oct 2026 07:28:00 GMT", RETRY_AFTER),
    ],
)  # fmt: skip
def test_one_that_has_no_room_is_asked_again_when_it_says(status: int, told: str | None, seconds: int) -> None:
    headers = {} if told is None else {"Retry-After": told}
    for error in (
        failure(Reply(status, {"detail": "nine wait"}, headers)),
        failure(Reply(202, QUEUED), followed=Reply(status, {"detail": "nine wait"}, headers)),
    ):
        assert isinstance(error, NotNow)
        assert (error.message, error.retry_after) == ("nine wait", seconds)


def test_one_that_was_started_anew_meanwhile_is_asked_again() -> None:
    error = failure(Reply(202, QUEUED), followed=Reply(404, {"detail": "this process knows of no measurement"}))
    assert isinstance(error, NotNow)


@pytest.mark.parametrize("code", ["draining", "unavailable", "queue_full"])
def test_a_measurement_that_fails_because_it_stops_is_asked_for_again(code: str) -> None:
    ended = {**QUEUED, "status": "failed", "error": {"code": code, "message": "it stops"}}
    assert isinstance(failure(Reply(202, QUEUED), followed=Reply(200, ended)), NotNow)


@pytest.mark.parametrize(
    "answer",
    [
        Reply(404, {"detail": "there is no adapter"}),
        Reply(500, {"detail": "a fault"}),
        Reply(202, {"status": "queued"}),
        Reply(202, {"id": "rcpt_1"}),
        Reply(202, {"id": 1, "status": "queued"}),
        Reply(200, {**QUEUED, "status": "completed"}),
        Reply(200, {**QUEUED, "status": "failed", "error": {"code": "out_of_memory", "message": "too large"}}),
        Reply(200, {**QUEUED, "status": "failed"}),
    ],
)
def test_anything_else_counts(answer: Reply) -> None:
    assert isinstance(failure(answer), NotMeasured)


def test_so_does_an_endpoint_that_dies_of_it() -> None:
    error = failure(Reply(202, QUEUED), followed=Reply(body=None))
    assert isinstance(error, Unavailable)
    assert not isinstance(error, NotNow)
