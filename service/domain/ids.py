"""Identifiers: a typed prefix, then 26 characters that sort by the time of their making (ULID layout)."""

import secrets
import time
from typing import NewType

JobId = NewType("JobId", str)
FileId = NewType("FileId", str)
TenantId = NewType("TenantId", str)
Fence = NewType("Fence", int)

NOBODY = Fence(0)
"""The fence of events that no attempt made: attempts count from 1."""

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def new_job_id() -> JobId:
    return JobId("job_" + _ulid())


def new_file_id() -> FileId:
    return FileId("file_" + _ulid())


def new_drawing_id() -> str:
    """Of an asynchronous request for pictures."""
    return "drawing_" + _ulid()


def new_picture_id() -> str:
    return "picture_" + _ulid()


def _ulid() -> str:
    """48 bits of milliseconds, 80 bits of chance, as 26 characters of Crockford's base 32."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
