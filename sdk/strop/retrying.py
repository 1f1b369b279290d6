"""Calls that may go better a second time: bounded tries, exponential waits with jitter, Retry-After honoured."""

import random
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from strop.errors import FieldError, InvalidRequest, RateLimited, StropError, Unavailable

Result = TypeVar("Result")
_KEY = re.compile(r"[!-~]{1,255}")


def key_of(given: str | None) -> str:
    """An idempotency key for all tries of one call: the caller's, else a new one. Raises InvalidRequest."""
    if given is None:
        return secrets.token_hex(16)
    if not _KEY.fullmatch(given):
        wrong = FieldError(
            "idempotency_key", "it is empty, too long or not printable", "1 to 255 printable ASCII characters"
        )
        raise InvalidRequest(f"{wrong.path}: {wrong.message}", code="invalid_idempotency_key", errors=(wrong,))
    return given


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently. `retries` 0: never."""

    retries: int = 5
    first_wait: float = 0.2
    longest_wait: float = 10.0
    longest_asked: float = 60.0
    """A service that asks for more than this many seconds is not waited for."""

    def wait(self, failed: int, error: StropError) -> float | None:
        """Seconds to wait after `failed` tries (1, 2, …); None: give up, and let the caller see the error."""
        if failed > self.retries or not isinstance(error, Unavailable | RateLimited):
            return None
        if (error.retry_after or 0) > self.longest_asked:
            return None
        backoff: float = min(self.longest_wait, self.first_wait * 2.0 ** (failed - 1)) * random.uniform(0.5, 1.0)
        return max(backoff, error.retry_after or 0)

    def call(self, attempt: Callable[[], Result], may: Callable[[StropError], bool] = lambda error: True) -> Result:
        """The first answer of `attempt`; its error where waiting does not help, or `may` says that sending again is not safe."""
        failed = 0
        while True:
            try:
                return attempt()
            except StropError as error:
                failed += 1
                wait = self.wait(failed, error) if may(error) else None
                if wait is None:
                    raise
            time.sleep(wait)
