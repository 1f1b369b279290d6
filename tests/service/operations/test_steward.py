"""The steward: each chore when it is due, one that fails no obstacle to the others, and an end when it is asked to."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from threading import Event

import pytest

from service.domain.errors import Unavailable
from service.operations.retention import Keep
from service.operations.steward import Chore, chores, keep_house
from service.telemetry import Pulse
from tests.service.world import World


def test_its_chores_end_lost_attempts(world: World) -> None:
    job = world.run()
    world.end_lease(job)
    clock = partial(datetime.now, UTC)
    todo = chores(world.database, world.store, world.attempts, Keep(), clock, lease_seconds=30)
    assert [chore.work() for chore in todo] == [1, 0, 0, 0, 0, 0, 0]
    assert world.get(job).state == "queued"


def test_each_is_done_as_often_as_it_is_due_until_the_stop() -> None:
    stop, done = Event(), {"often": 0, "once": 0}

    def often() -> int:
        done["often"] += 1
        if done["often"] == 5:
            stop.set()
        return 0

    def once() -> int:
        done["once"] += 1
        return 0

    keep_house([Chore("often", 0.001, often), Chore("once", 3600, once)], stop, Pulse(60))
    assert done == {"often": 5, "once": 1}


@pytest.mark.parametrize("fault", [Unavailable(), KeyError("a fault of ours")])
def test_a_chore_that_fails_is_logged_and_tried_again(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    stop, tries = Event(), []

    def fails_once() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise fault
        stop.set()
        return 3

    with caplog.at_level(logging.INFO):
        keep_house([Chore("sweep", 0.001, fails_once)], stop, Pulse(60))
    assert len(tries) == 2
    assert caplog.records[0].levelname in {"WARNING", "ERROR"}
    assert caplog.records[-1].getMessage() == "sweep: 3"


class TestPulse:
    def turns(self, *works: Callable[[], int]) -> Pulse:
        """One turn of each, then the stop."""
        stop, pulse = Event(), Pulse(60)

        def last() -> int:
            stop.set()
            raise Unavailable

        keep_house(
            [*(Chore(str(n), 3600, work) for n, work in enumerate(works)), Chore("last", 3600, last)], stop, pulse
        )
        return pulse

    def test_a_chore_that_goes_well_is_a_beat(self) -> None:
        assert self.turns(lambda: 0).ready

    def test_chores_that_fail_are_none(self) -> None:
        def away() -> int:
            raise Unavailable

        assert not self.turns(away, away).ready
