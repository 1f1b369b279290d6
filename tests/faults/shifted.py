"""`python -m tests.faults.shifted SECONDS MODULE WORDS…`: run a module whose clock of the day is that much off.

time.time, time.time_ns and datetime's now, utcnow and today are moved before anything else is imported; the monotonic
clocks are not, as they would not be on a machine whose date is wrong. Nothing of the system is changed, no root is needed.
"""

import datetime
import runpy
import sys
import time


def shift(seconds: float) -> None:
    true, true_ns, unshifted = time.time, time.time_ns, datetime.datetime
    time.time = lambda: true() + seconds
    time.time_ns = lambda: true_ns() + round(seconds * 1e9)

    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, unshifted)

    class Shifted(unshifted, metaclass=Kind):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return cls.now(datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> datetime.datetime:
            return cls.now()

    datetime.datetime = Shifted  # type: ignore[misc]


if __name__ == "__main__":
    shift(float(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
