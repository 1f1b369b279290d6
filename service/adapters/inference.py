"""The door to the inference endpoint, for the steward: the port Measurer over HTTP.

One connection is kept for the whole of a measurement: behind a balancer that deals out connections, as a Kubernetes
service does, every question goes to the process that measures.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from pydantic import ValidationError

from service.domain.errors import StropError, Unavailable
from service.domain.receipts import Receipt

LONGEST_SECONDS = 3600.0
"""Of one measurement."""
WAIT_SECONDS = 10
"""How long the endpoint is asked to hold an answer back for news (RFC 7240, wait)."""
PATIENCE = 30.0


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
                    raise NotMeasured(f"it took more than {self._longest:.0f} s")
                began = time.monotonic()
                answer = _answered(client.get(f"/v1/receipts/{answer['id']}"))
                if time.monotonic() - began < 1.0 and answer["status"] != "completed":
                    time.sleep(1.0)  # an endpoint that does not hold answers back is not asked in a tight loop
        if answer["status"] != "completed":
            raise NotMeasured(str((answer.get("error") or {}).get("message") or "the measurement failed"))
        try:
            return Receipt.model_validate(answer["receipt"])
        except ValidationError as error:
            raise NotMeasured(f"what the endpoint says is no receipt: {error.errors()[0]['msg']}") from error

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        headers = {**self._headers, "Prefer": f"wait={WAIT_SECONDS}"}
        try:
            with httpx.Client(base_url=self._url, headers=headers, timeout=WAIT_SECONDS + PATIENCE) as client:
                yield client
        except httpx.HTTPError as error:
            raise Unavailable(f"the inference endpoint does not answer ({error})") from error


def _answered(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or (response.is_success and "status" not in body):
        raise NotMeasured(f"the inference endpoint answered {response.status_code}, and not as it should")
    if not response.is_success:
        raise NotMeasured(str(body.get("detail") or f"the inference endpoint answered {response.status_code}"))
    return body
