"""Waiting for what other threads and processes do: a condition and a bound, never a sleep of a guessed length."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def eventually(condition: Callable[[], Result], seconds: float = 30.0) -> Result:
    """Ask until the answer is true, and return it. Raises AssertionError when the time is over."""
    until = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until, f"not so within {seconds} s, last answer {answer!r}"
        time.sleep(0.01)
    return answer
