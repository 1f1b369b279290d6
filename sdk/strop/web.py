"""HTTP to the gateway and the inference endpoint: the key, retries, and refusals as errors."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import httpx

from strop import refusals
from strop.errors import StropError
from strop.retrying import Retries, key_of

Result = TypeVar("Result")
KEY_HEADER = "Idempotency-Key"
NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Web:
    """One pool of connections; thread-safe."""

    def __init__(self, api_key: str | None, timeout: float, retries: Retries, agent: str) -> None:
        self._key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout, self._retries = timeout, retries
        self._client = httpx.Client(timeout=timeout, headers={"User-Agent": agent})

    def get(self, url: str) -> Any:
        """The JSON of a GET; tried again whatever cut it."""
        return self._retries.call(lambda: self._json("GET", url))

    def post(self, url: str, *, answer_seconds: float | None = None, **content: Any) -> Any:
        """The JSON of a POST; tried again only where the service has not begun with it: nothing sent, 429 or 503."""
        timeout = httpx.Timeout(self._timeout, read=answer_seconds or self._timeout)
        return self._retries.call(lambda: self._json("POST", url, timeout=timeout, **content), may=_not_begun)

    def post_once(self, url: str, key: str | None, *, answer_seconds: float | None = None, **content: Any) -> Any:
        """The same, under one key for all its tries: the gateway does it once, so it is tried again whatever cut it."""
        timeout = httpx.Timeout(self._timeout, read=answer_seconds or self._timeout)
        headers = {KEY_HEADER: key_of(key)}
        return self._retries.call(lambda: self._json("POST", url, headers, timeout=timeout, **content))

    def read(self, url: str, take: Callable[[Iterator[bytes]], Result]) -> Result:
        """What `take` makes of the bytes behind a link, which needs no key; all over again where it was cut."""

        def once() -> Result:
            with _translated(url), self._client.stream("GET", url) as response:
                if not response.is_success:  # a redirect, too, is none of the bytes
                    response.read()
                    raise refusals.of_response(response)
                return take(response.iter_bytes())

        return self._retries.call(once)

    def content(self, url: str) -> bytes:
        """The bytes of a GET as they are; tried again whatever cut it."""
        return self._retries.call(lambda: self._answer("GET", url).content)

    def poll(self, url: str, done: Callable[[Any], bool], *, wait: int, longest: float) -> Any:
        """The JSON of a GET until `done`; each answer may be held back `wait` seconds for news. Raises TimeoutError."""
        until, headers = time.monotonic() + longest, {"Prefer": f"wait={wait}"}
        timeout = httpx.Timeout(self._timeout, read=self._timeout + wait)
        while True:
            began = time.monotonic()
            answer = self._retries.call(lambda: self._json("GET", url, headers, timeout=timeout))
            if done(answer):
                return answer
            if time.monotonic() >= until:
                raise TimeoutError(f"{url} was not done after {longest:.0f} s")
            time.sleep(max(0.0, began + 1.0 - time.monotonic()))  # where answers are not held back

    def delete(self, url: str) -> Any:
        """The JSON of a DELETE; tried again whatever cut it, for it does no more the second time."""
        return self._retries.call(lambda: self._json("DELETE", url))

    def events(self, url: str, *, answer_seconds: float, **content: Any) -> Iterator[Any]:
        """The data of each server-sent event of a POST. Its beginning is tried again as `post` is, its middle never."""
        timeout = httpx.Timeout(self._timeout, read=answer_seconds)
        with ExitStack() as opened:

            def begin() -> httpx.Response:
                with _translated(url):
                    asked = self._client.stream("POST", url, headers=self._key, timeout=timeout, **content)
                    response = opened.enter_context(asked)
                    if not response.is_success:
                        response.read()
                        raise refusals.of_response(response)
                    return response

            response = self._retries.call(begin, may=_not_begun)
            with _translated(url):
                for line in response.iter_lines():  # each event of ours is one line of data
                    if line.startswith("data:"):
                        yield json.loads(line.removeprefix("data:"))

    def close(self) -> None:
        self._client.close()

    def _json(self, method: str, url: str, headers: Mapping[str, str] | None = None, **given: Any) -> Any:
        response = self._answer(method, url, headers, **given)
        try:
            return response.json()
        except ValueError:
            raise StropError(f"{url} does not answer in JSON; is the URL right?", code="unreadable_answer") from None

    def _answer(self, method: str, url: str, headers: Mapping[str, str] | None = None, **given: Any) -> httpx.Response:
        with _translated(url):
            response = self._client.request(method, url, headers=self._key | dict(headers or {}), **given)
        if not response.is_success:
            raise refusals.of_response(response)
        return response


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise refusals.of_transport(error, url.split("?", maxsplit=1)[0]) from error


def _not_begun(error: StropError) -> bool:
    if isinstance(error.__cause__, httpx.TransportError):
        return isinstance(error.__cause__, NOTHING_SENT)
    return error.status in (429, 503)
