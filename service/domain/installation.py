"""The mark that says which database a store belongs to: on both, so that neither is cleared by another's rows."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Installation:
    """A database and its store: who they are, and when, by the database's clock, a steward last saw the two together."""

    id: str
    seen_at: datetime
