"""A moment as it travels."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import PlainSerializer


def _zulu(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_zulu, return_type=str)]
"""UTC, milliseconds, Z."""
