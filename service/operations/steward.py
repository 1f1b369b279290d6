"""The steward's chores: every loop that no request asked for. While it is dead, only these wait; claims reap by themselves."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from time import monotonic

from service.domain.errors import StropError
from service.domain.outside import Clock, Store
from service.domain.ports import Database
from service.operations.attempts import Attempts
from service.operations.belonging import Belonging
from service.operations.drawn import remove_expired
from service.operations.retention import Keep, Sweep, expire_checkpoints, for_a_while, trim_events
from service.operations.signing import Signing
from service.operations.waiting import Explaining
from service.telemetry import Pulse

log = logging.getLogger(__name__)
RECEIPT_SECONDS = 5.0
PATIENCE = 4
"""Turns of the most frequent chore that may be missed before the steward is no longer ready."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Something done every so many seconds; `work` returns how many things it changed."""

    name: str
    every_seconds: float
    work: Callable[[], int]


def chores(
    database: Database, store: Store, attempts: Attempts, keep: Keep, clock: Clock, *, lease_seconds: float
) -> tuple[Chore, ...]:
    """None takes much longer than a few seconds: what is more is left for the next turn.

    Those that remove anything from the store raise ForeignStore, and remove nothing, where it is not this database's.
    """
    belonging, sweep = Belonging(database, store), Sweep(database, store, keep, clock)

    def in_our_store(work: Callable[[], int]) -> Callable[[], int]:
        def checked() -> int:
            belonging.check()
            return work()

        return checked

    expire = in_our_store(lambda: for_a_while(partial(expire_checkpoints, database, store, keep)))
    tidy = in_our_store(lambda: remove_expired(store, keep.drawn, clock))
    return (
        Chore("reap attempts whose lease is over", lease_seconds / 3, attempts.reap),
        Chore("let jobs that no worker can take say why", 60.0, Explaining(database).turn),
        Chore("forget old idempotency keys", 600.0, lambda: forget_keys(database)),
        Chore("remove old checkpoints", 600.0, expire),
        Chore("trim old events", 600.0, lambda: for_a_while(partial(trim_events, database, keep))),
        Chore("remove what no row names from the store", 600.0, in_our_store(sweep.turn)),
        Chore("remove drawn pictures whose time is over", 300.0, tidy),
    )


def receipt_chores(signing: Signing) -> tuple[Chore, ...]:
    """For a thread of their own: a measurement takes minutes, and none of the chores above may wait for it."""
    return (Chore("have a receipt measured and sign it", RECEIPT_SECONDS, signing.turn),)


def forget_keys(database: Database) -> int:
    with database.write() as unit:
        return unit.idempotency.forget_old()


def pulse_of(todo: Sequence[Chore]) -> Pulse:
    """The steward's turn is a chore that went well: the most frequent one may fail, or be late, a few times."""
    return Pulse(PATIENCE * min(chore.every_seconds for chore in todo))


def keep_house(todo: Sequence[Chore], stop: Event, pulse: Pulse) -> None:
    """Do each chore when it is due until `stop` is set. One that fails is logged and tried again at its next turn."""
    due = dict.fromkeys(todo, monotonic())
    while True:
        for chore in todo:
            if monotonic() >= due[chore]:
                if _do(chore):
                    pulse.beat()
                due[chore] = monotonic() + chore.every_seconds
        if stop.wait(max(0.0, min(due.values()) - monotonic())):
            return


def _do(chore: Chore) -> bool:
    """Did it go well?"""
    try:
        if changed := chore.work():
            log.info("%s: %d", chore.name, changed)
        return True
    except StropError as error:
        log.warning("%s: %s", chore.name, error.message)
    except Exception:
        log.exception("%s: a fault of ours", chore.name)
    return False
