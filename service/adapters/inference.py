"""The door to the inference endpoint, for the steward: the port Measurer over HTTP.

One connection is kept for the whole of a measurement: behind a balancer that deals out connections, as a Kubernetes
service does, every question goes to the process that measures.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from service.domain.errors import StropError, Unavailable
from service.domain.receipts import NotNow, Receipt

LONGEST_SECONDS = 3600.0
"""Of one measurement."""
WAIT_SECONDS = 10
"""How long the endpoint is asked to hold an answer back for news (RFC 7240, wait)."""
PATIENCE = 30.0
RETRY_AFTER, LONGEST_RETRY_AFTER = 30, 3600
"""Seconds, where the endpoint says that it cannot now: unless it says when, and at most."""

NOT_NOW = ("draining", "queue_full", "unavailable")
"""Codes of measurements that failed, and not because of the adapter."""


class NotMeasured(StropError):
    """The inference endpoint did not measure the adapter."""

    code = "receipt_not_measured"


class Endpoint:
    def __init__(self, url: str, key: str | None, *, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._url, self._longest = url.rstrip("/"), longest_seconds
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def is_there(self) -> bool:
        try:
            return httpx.get(f"{self._url}/readyz", timeout=5.0).is_success
        except httpx.HTTPError:
            return False

    def measure(self, reference: str, still: Callable[[], None]) -> Receipt:
        until = time.monotonic() + self._longest
        with self._client() as client:
            answer = _answered(client.post("/v1/receipts", json={"adapter": reference}))
            while answer["status"] in ("queued", "in_progress"):
                still()
                if time.monotonic() >= until:
                    took = f"it took more than {self._longest:.0f} s"
                    raise NotNow(took) if answer["status"] == "queued" else NotMeasured(took)
                began = time.monotonic()
                answer = self._news(client, answer["id"])
                if time.monotonic() - began < 1.0 and answer["status"] != "completed":
                    time.sleep(1.0)  # an endpoint that does not hold answers back is not asked in a tight loop
        if answer["status"] != "completed":
            error = answer.get("error") or {}
            why = str(error.get("message") or "the measurement failed")
            raise NotNow(why, retry_after=RETRY_AFTER) if error.get("code") in NOT_NOW else NotMeasured(why)
        try:
            return Receipt.model_validate(answer.get("receipt"))
        except ValidationError as wrong:
            raise NotMeasured(f"what the endpoint says is no receipt: {wrong.errors()[0]['msg']}") from wrong

    def _news(self, client: httpx.Client, id: str) -> dict[str, Any]:
        """Raises NotNow where the endpoint was started anew since it was asked, and knows of nothing."""
        response = client.get(f"/v1/receipts/{quote(id, safe='')}")
        if response.status_code == httpx.codes.NOT_FOUND:
            raise NotNow("the inference endpoint has forgotten what it was asked", retry_after=RETRY_AFTER)
        return _answered(response)

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        headers = {**self._headers, "Prefer": f"wait={WAIT_SECONDS}"}
        try:
            with httpx.Client(base_url=self._url, headers=headers, timeout=WAIT_SECONDS + PATIENCE) as client:
                yield client
        except httpx.HTTPError as error:
            raise Unavailable(f"the inference endpoint does not answer ({error})") from error


def _answered(response: httpx.Response) -> dict[str, Any]:
    """Raises NotNow, NotMeasured."""
    try:
        body = response.json()
    except ValueError:
        body = None
    words = body if isinstance(body, dict) else {}
    if response.status_code in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        raise NotNow(_said(response, words), retry_after=_retry_after(response))
    if not response.is_success:
        raise NotMeasured(_said(response, words))
    if not (isinstance(words.get("status"), str) and isinstance(words.get("id"), str)):
        raise NotMeasured(f"the inference endpoint answered {response.status_code}, and not as it should")
    return words


def _said(response: httpx.Response, words: dict[str, Any]) -> str:
    return str(words.get("detail") or f"the inference endpoint answered {response.status_code}")


def _retry_after(response: httpx.Response) -> int:
    """Seconds, within bounds; a proxy may send a date (RFC 9110), which says no more than "later" here."""
    told = response.headers.get("Retry-After", "")
    return min(max(int(told), 1), LONGEST_RETRY_AFTER) if told.isdecimal() else RETRY_AFTER
