"""The notifier: whoever watches a job is woken by its changes, over each database, and nothing is lost or left."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event, text

from service.adapters.db import JobNotifier
from service.adapters.db.notifier import Subscription
from service.domain.errors import Unavailable
from service.domain.jobs import Job
from tests.eventually import eventually
from tests.service.world import World

SECONDS = 10
QUIET = 0.1
LISTENERS = "FROM pg_stat_activity WHERE application_name = 'strop notifier'"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.adapters.db.notifier.POLL_SECONDS", 0.02)


@pytest.fixture
def notifier(world: World) -> JobNotifier:
    return JobNotifier(world.database)


def listening(notifier: JobNotifier, body: Callable[[], Awaitable[None]]) -> None:
    """Run `body` on an event loop on which the notifier runs."""

    async def main() -> None:
        async with notifier.running():
            await body()

    asyncio.run(main())


async def woken(subscription: Subscription, seconds: float = SECONDS) -> bool:
    try:
        await asyncio.wait_for(subscription.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def settle(subscription: Subscription) -> None:
    """Until the first wakes, which may be for nothing, are over."""
    await woken(subscription, 1)
    while await woken(subscription, QUIET):
        pass


def test_a_change_wakes_who_watches_that_job_and_nobody_else(world: World, notifier: JobNotifier) -> None:
    job, other = world.post(), world.post()

    async def body() -> None:
        with notifier.watch(job.id) as mine, notifier.watch(job.id) as too, notifier.watch(other.id) as others:
            for each in (mine, too, others):
                await settle(each)
            await asyncio.to_thread(world.claim_of, job)
            assert await woken(mine)
            assert await woken(too)
            assert not await woken(others, QUIET)

    listening(notifier, body)


def test_a_change_before_the_wait_is_not_lost(world: World, notifier: JobNotifier) -> None:
    job = world.post()

    async def body() -> None:
        with notifier.watch(job.id) as mine:
            await settle(mine)
            world.claim_of(job)  # blocks the loop: nobody can be waiting
            assert await woken(mine)

    listening(notifier, body)


def rolled_back(world: World, job: Job) -> None:
    with suppress(RuntimeError), world.database.write() as unit:
        unit.jobs._connection.execute(text("UPDATE jobs SET version = version + 1"))
        raise RuntimeError


@pytest.mark.parametrize(
    "deed",
    [
        pytest.param(lambda world, job: world.attempts.heartbeat(job.id, job.fence), id="a heartbeat"),
        pytest.param(rolled_back, id="a transaction that is rolled back"),
    ],
)
def test_what_changes_nothing_that_can_be_seen_wakes_nobody(
    world: World, notifier: JobNotifier, deed: Callable[[World, Job], Any]
) -> None:
    job = world.run()

    async def body() -> None:
        with notifier.watch(job.id) as mine:
            await settle(mine)
            await asyncio.to_thread(deed, world, job)
            assert not await woken(mine, QUIET)

    listening(notifier, body)


def test_who_has_gone_is_forgotten(world: World, notifier: JobNotifier) -> None:
    async def body() -> None:
        with pytest.raises(RuntimeError), notifier.watch(world.post().id):
            assert notifier.subscriptions == 1
            raise RuntimeError
        assert notifier.subscriptions == 0

    listening(notifier, body)


def test_the_end_is_told_to_who_waits_and_to_who_comes_late(world: World, notifier: JobNotifier) -> None:
    job = world.post()

    async def main() -> None:
        with notifier.watch(job.id) as mine:
            async with notifier.running():
                await settle(mine)
                waiting = asyncio.create_task(mine.wait())
            with pytest.raises(Unavailable):
                await asyncio.wait_for(waiting, SECONDS)
        with notifier.watch(job.id) as late, pytest.raises(Unavailable):
            await woken(late)

    asyncio.run(main())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_one_query_asks_for_all_and_none_while_nobody_watches(world: World, notifier: JobNotifier) -> None:
    jobs = [world.post() for _ in range(20)]
    asked: list[str] = []
    event.listen(world.database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

    async def body() -> None:
        assert not await woken(Subscription(), QUIET)  # five polls long
        assert asked == []
        watched = [notifier.watch(job.id) for job in jobs]
        subscriptions = [each.__enter__() for each in watched]
        for subscription in subscriptions:
            assert await woken(subscription)
        assert len([statement for statement in asked if statement.startswith("SELECT")]) == 1
        for each in watched:
            each.__exit__(None, None, None)

    listening(notifier, body)


class TestWhenTheDatabaseWasAway:
    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_everybody_is_woken_and_changes_are_heard_again(
        self, world: World, notifier: JobNotifier, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = world.run()

        async def body() -> None:
            with notifier.watch(job.id) as mine:
                await settle(mine)
                for _ in range(3):
                    await asyncio.to_thread(world.sql, f"SELECT pg_terminate_backend(pid) {LISTENERS}")
                    await settle(mine)
                world.attempts.record(job.id, job.fence, 1, "job.step", {})
                assert await woken(mine)

        listening(notifier, body)
        assert "the notifier lost the database" in caplog.text
        eventually(lambda: world.sql(f"SELECT count(*) {LISTENERS}") == [(0,)])  # a backend ends after its client

    def test_whatever_else_fails_it_tries_again(
        self, world: World, notifier: JobNotifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = world.post()
        kind = "_listen" if world.on_postgresql else "_poll"
        real, faults = getattr(notifier, kind), iter((Unavailable(), ValueError("a fault of ours"), OSError()))

        def sometimes() -> Any:
            if fault := next(faults, None):
                return failing(fault)
            return real()

        async def failing(fault: Exception) -> Any:
            raise fault
            yield

        monkeypatch.setattr(notifier, kind, sometimes)
        monkeypatch.setattr("service.adapters.db.notifier.FIRST_WAIT_SECONDS", 0.01)

        async def body() -> None:
            with notifier.watch(job.id) as mine:
                await settle(mine)
                await asyncio.to_thread(world.claim_of, job)
                assert await woken(mine)

        listening(notifier, body)
        assert "a fault of ours" in caplog.text
