"""Who takes the next step: fair between tenants, oldest first within one.

Each tenant has an account of the denoiser forwards it has had. A call is led by the tenant with the smallest, with its
shape that has waited longest, and filled with samples of that shape, place by place, from whoever then has the smallest.
So a tenant that comes to a crowded engine is in the next call, and one with a hundred requests gets the places that
nobody else asks for. Who comes anew starts level with the least served of those who are there: being away earns nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.domain.catalogue import BaseModelEntry


@dataclass(frozen=True, slots=True)
class Shape:
    """Samples of one shape can share a call: one base (so one size and dtype), all guided or none, one pinned size."""

    base: BaseModelEntry
    guided: bool
    pinned: int | None = None

    @property
    def forwards(self) -> int:
        """Of one sample in one call, which is what it is charged with."""
        return 2 if self.guided else 1


class Run:
    """One sample to be drawn; what else it is, its subclass knows."""

    tenant: str
    shape: Shape


R = TypeVar("R", bound=Run)


class _Tenant(Generic[R]):
    def __init__(self, account: int) -> None:
        self.account = account
        self.runs: dict[Shape, list[R]] = {}
        """Shapes with the one first that was stepped longest ago; runs in the order of their arrival."""


class Roster(Generic[R]):
    """Not thread-safe: the engine's own."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant[R]] = {}

    def __iter__(self) -> Iterator[R]:
        for tenant in self._tenants.values():
            for runs in tenant.runs.values():
                yield from runs

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def add(self, run: R) -> None:
        if run.tenant not in self._tenants:
            least = min((each.account for each in self._tenants.values()), default=0)
            self._tenants[run.tenant] = _Tenant(least)
        self._tenants[run.tenant].runs.setdefault(run.shape, []).append(run)

    def remove(self, run: R) -> None:
        tenant = self._tenants[run.tenant]
        tenant.runs[run.shape].remove(run)
        if not tenant.runs[run.shape]:
            del tenant.runs[run.shape]
        if not tenant.runs:
            del self._tenants[run.tenant]

    def choose(self, ready: Callable[[R], bool], fits: Callable[[R, list[R]], bool]) -> list[R]:
        """Up to as many ready runs of one shape as fit beside those chosen before, the most owed first; [] for none."""
        waiting = {
            name: {shape: found for shape, runs in tenant.runs.items() if (found := [r for r in runs if ready(r)])}
            for name, tenant in self._tenants.items()
        }
        waiting = {name: shapes for name, shapes in waiting.items() if shapes}
        if not waiting:
            return []
        accounts = {name: self._tenants[name].account for name in waiting}
        shape = next(iter(waiting[min(waiting, key=accounts.__getitem__)]))
        left = {name: shapes[shape] for name, shapes in waiting.items() if shape in shapes}
        chosen: list[R] = []
        while left:
            name = min(left, key=accounts.__getitem__)
            run = left[name].pop(0)
            if not left[name]:
                del left[name]
            if fits(run, chosen):
                chosen.append(run)
                accounts[name] += shape.forwards
        return chosen

    def charge(self, runs: Iterable[R]) -> None:
        """They are about to take a step."""
        for run in runs:
            tenant = self._tenants[run.tenant]
            tenant.account += run.shape.forwards
            tenant.runs[run.shape] = tenant.runs.pop(run.shape)
