"""Who takes the next step: fair between tenants, steady while that is fair, oldest first within one.

Each tenant has an account of the denoiser forwards it has had, its share of the padding among them. Places of a call
go round: one to each tenant, then a second to each, in the order of their accounts, where a sample of the last call
counts as QUANTUM forwards less. So a tenant that comes to an engine which another has crowded is in the next call; one
with a hundred requests gets the places that nobody else asks for; and where there are more tenants than places they take
turns of some steps, not of one, because new company costs slots. Whom the rounding of a call's size left out comes before
all of them in the next call: of five samples each draws on, though only four go at a time.
Of several shapes the one goes whose call has the tenant with the smallest account. Who comes anew starts level with the
least served of those who are there: being away earns nothing.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.domain.catalogue import BaseModelEntry

QUANTUM = 16
"""Forwards by which one tenant may be ahead of another before its samples step back: eight guided steps."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Samples of one shape can share a call: one base (so one size and dtype), all with classifier-free guidance or none, one
    pinned size."""

    base: BaseModelEntry
    guided: bool
    pinned: int | None = None

    @property
    def forwards(self) -> int:
        """Of one row of the call."""
        return 2 if self.guided else 1


class Run:
    """One sample to be drawn; what else it is, its subclass knows."""

    tenant: str
    shape: Shape


R = TypeVar("R", bound=Run)


class _Tenant(Generic[R]):
    def __init__(self, account: float) -> None:
        self.account = account
        self.runs: dict[Shape, list[R]] = {}
        """Shapes with the one first that was stepped longest ago; runs in the order of their arrival."""


class Roster(Generic[R]):
    """Not thread-safe: the engine's own."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant[R]] = {}
        self._last: dict[Shape, set[R]] = {}
        """Who was in each shape's last call, as far as they are still here."""
        self._left_out: dict[Shape, set[R]] = {}
        """Who was chosen for it and had no place after all, as far as they are still here."""

    def __iter__(self) -> Iterator[R]:
        for tenant in self._tenants.values():
            for runs in tenant.runs.values():
                yield from runs

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def add(self, run: R) -> None:
        if run.tenant not in self._tenants:
            least = min((each.account for each in self._tenants.values()), default=0.0)
            self._tenants[run.tenant] = _Tenant(least)
        self._tenants[run.tenant].runs.setdefault(run.shape, []).append(run)

    def remove(self, run: R) -> None:
        tenant = self._tenants[run.tenant]
        tenant.runs[run.shape].remove(run)
        if not tenant.runs[run.shape]:
            del tenant.runs[run.shape]
        if not tenant.runs:
            del self._tenants[run.tenant]
        for kept in (self._last, self._left_out):
            kept.get(run.shape, set()).discard(run)
            if not kept.get(run.shape, True):
                del kept[run.shape]

    def choose(self, ready: Callable[[R], bool], fits: Callable[[R, list[R]], bool]) -> list[R]:
        """Ready runs of one shape, as many as fit beside those chosen before, in the order of their claim; [] for none."""
        calls = []
        for shape in dict.fromkeys(shape for tenant in self._tenants.values() for shape in tenant.runs):
            left = {
                name: deque(
                    sorted(filter(ready, tenant.runs[shape]), key=lambda run: run not in self._last.get(shape, ()))
                )
                for name, tenant in self._tenants.items()
                if shape in tenant.runs
            }
            if chosen := self._filled({name: runs for name, runs in left.items() if runs}, fits):
                calls.append(chosen)
        return min(calls, key=lambda runs: min(self._tenants[run.tenant].account for run in runs), default=[])

    def _filled(self, left: dict[str, deque[R]], fits: Callable[[R, list[R]], bool]) -> list[R]:
        chosen: list[R] = []
        for runs in left.values():
            for run in [each for each in runs if each in self._left_out.get(each.shape, ())]:
                if fits(run, chosen):
                    chosen.append(run)
                    runs.remove(run)
        left = {name: runs for name, runs in left.items() if runs}
        while left:
            for name in sorted(left, key=lambda name: self._standing(name, left[name][0])):
                run = left[name].popleft()
                if fits(run, chosen):
                    chosen.append(run)
            left = {name: runs for name, runs in left.items() if runs}
        return chosen

    def _standing(self, name: str, run: R) -> float:
        return self._tenants[name].account - (QUANTUM if run in self._last.get(run.shape, ()) else 0)

    def leave_out(self, shape: Shape, runs: Collection[R]) -> None:
        """They were chosen for the call that is made now, and do not go."""
        self._left_out[shape] = set(runs)

    def charge(self, runs: Collection[R], size: int) -> None:
        """They are about to take a step in calls of `size` rows; who pins a size pays for its padding."""
        self._last |= {run.shape: set(runs) for run in runs}
        for run in runs:
            tenant = self._tenants[run.tenant]
            tenant.account += run.shape.forwards * max(1, size / len(runs))
            tenant.runs[run.shape] = tenant.runs.pop(run.shape)
