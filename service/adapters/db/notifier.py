"""One for a process: wakes who watches a job when it may have changed. It carries ids; who is woken reads for himself.

PostgreSQL: LISTEN on a connection of its own, outside the pool; a trigger on `jobs` notifies (migration 0002).
SQLite: one query a poll for all watched jobs, which compares versions; none while nobody watches.
After the database was away, everybody is woken: what was said meanwhile nobody heard.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any

import psycopg
from sqlalchemy import select

from service.adapters.db.engine import CONNECT_SECONDS, SqlDatabase, translated
from service.adapters.db.tables import jobs
from service.domain.errors import Unavailable
from service.domain.ids import JobId

POLL_SECONDS = 0.3
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0
LISTEN_OPTIONS: dict[str, Any] = {
    "connect_timeout": round(CONNECT_SECONDS),
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "application_name": "strop notifier",
}  # fmt: skip
"""A server that went without a word is noticed within 25 s."""

logger = logging.getLogger(__name__)


class Subscription:
    """What one watcher waits on; the port `Changes`."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._over = False

    async def wait(self) -> None:
        await self._changed.wait()
        self._changed.clear()
        if self._over:
            self._changed.set()
            raise Unavailable("this gateway is stopping; watch again", retry_after=1)

    def wake(self, *, over: bool = False) -> None:
        self._over |= over
        self._changed.set()


class JobNotifier:
    """The port `Notifier`. All of it lives on one event loop, between the beginning and the end of `running`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._watching: dict[JobId, set[Subscription]] = {}
        self._over = False

    @contextmanager
    def watch(self, job: JobId) -> Iterator[Subscription]:
        mine = Subscription()
        if self._over:
            mine.wake(over=True)
        self._watching.setdefault(job, set()).add(mine)
        try:
            yield mine
        finally:
            others = self._watching[job]
            others.discard(mine)
            if not others:
                del self._watching[job]

    @property
    def subscriptions(self) -> int:
        return sum(map(len, self._watching.values()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen until the block ends; then whoever waits is told that it is over."""
        listening = asyncio.create_task(self._run(), name="notifier")
        try:
            yield
        finally:
            self._over = True
            self._wake(None, over=True)
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def _run(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while True:
            heard = self._listen() if self._database.engine.dialect.name == "postgresql" else self._poll()
            try:
                async with aclosing(heard):
                    async for job in heard:
                        wait = FIRST_WAIT_SECONDS
                        self._wake(job)
            except (Unavailable, psycopg.Error, OSError) as error:
                logger.warning("the notifier lost the database, and tries again in %.1f s: %s", wait, error)
            except Exception:
                logger.exception("the notifier failed, and tries again in %.1f s", wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _wake(self, job: JobId | None, *, over: bool = False) -> None:
        """Who watches that job; None: everybody."""
        jobs_meant = list(self._watching) if job is None else [job]
        for each in jobs_meant:
            for subscription in self._watching.get(each, ()):
                subscription.wake(over=over)

    async def _listen(self) -> AsyncGenerator[JobId | None, None]:
        address = self._database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        async with await psycopg.AsyncConnection.connect(address, autocommit=True, **LISTEN_OPTIONS) as connection:
            await connection.execute("LISTEN strop_jobs")
            yield None
            async for said in connection.notifies():
                yield JobId(said.payload)

    async def _poll(self) -> AsyncGenerator[JobId | None, None]:
        seen: dict[JobId, int] = {}
        while True:
            if self._watching:
                now = await asyncio.to_thread(self._versions, list(self._watching))
                for job, version in now.items():
                    if seen.get(job) != version:
                        yield job
                seen = now
            await asyncio.sleep(POLL_SECONDS)

    def _versions(self, watched: list[JobId]) -> dict[JobId, int]:
        with translated(), self._database.engine.connect() as connection:
            rows = connection.execute(select(jobs.c.id, jobs.c.version).where(jobs.c.id.in_(watched)))
            return {JobId(row.id): row.version for row in rows}
