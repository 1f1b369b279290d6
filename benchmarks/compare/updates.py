"""What a run tells its driver (`running.py`), whichever loop trains it: the service's, or the controls' own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Update:
    """`step` optimiser updates are done; totals since the start."""

    step: int
    nfe: int
    fe: int
    decodes: int
    reward_calls: int


@dataclass(frozen=True, slots=True)
class Kept:
    """Everything that going on from `step` needs, and the averaged adapter as a file."""

    step: int
    data: bytes
    average: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """The averaged adapter that would be delivered."""

    step: int
    adapter: bytes
