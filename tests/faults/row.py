"""A row of the matrix: what is done to Strop, how often, what it is measured by; and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from tests.faults.checker import Violation
from tests.faults.site import Parts, Server, Site

Figures = dict[str, float | int]
BOTH: tuple[Parts, ...] = ("real", "embedded")
REAL: tuple[Parts, ...] = ("real",)


@dataclass(frozen=True)
class Row:
    """`run(site, rounds)` does it and returns its figures; those named in `none` must be 0, or the row does not hold.

    `seconds`: about how long a round and the start take on two quiet cores. `short` rounds in the short version; 0: left
    out of it. In the short version a row runs on one of its `parts`.
    """

    fault: str
    invariants: str
    run: Callable[[Site, int], Figures]
    rounds: int
    short: int
    seconds: tuple[float, float]
    parts: tuple[Parts, ...] = BOTH
    none: tuple[str, ...] = ()
    own: frozenset[Server] = frozenset()
    settle_seconds: float = 30.0

    def cost(self, rounds: int) -> float:
        return self.seconds[0] + rounds * self.seconds[1]


@dataclass(frozen=True)
class Result:
    """`violations`: of I1 to I5 and of `none`, by name; or the AssertionError that ended the row."""

    row: Row
    parts: Parts
    rounds: int
    figures: Figures
    violations: Sequence[Violation]
    seconds: float

    @property
    def held(self) -> bool:
        return not self.violations

    def line(self) -> dict[str, Any]:
        """As results.json has it."""
        return {
            "fault": self.row.fault,
            "parts": self.parts,
            "invariants": self.row.invariants,
            "rounds": self.rounds,
            "held": self.held,
            "figures": {name: round(value, 3) for name, value in self.figures.items()},
            "violations": [str(violation) for violation in self.violations],
            "seconds": round(self.seconds, 1),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; of fewer than 100 values the 99th is the largest. -1 where there is none."""
    ordered = sorted(values)
    return ordered[ceil(share * len(ordered)) - 1] if ordered else -1.0
