"""Following a job: what it is now, then every event in order and the job after each change, up to its end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from service.domain.ids import JobId
from service.domain.jobs import TERMINAL, Event, Job
from service.domain.outside import Changes, Notifier
from service.domain.principals import Principal
from service.operations.jobs import Jobs


class Watching:
    """Between two changes a watcher holds a subscription and nothing else: no connection, no thread."""

    def __init__(self, jobs: Jobs, notifier: Notifier) -> None:
        self._jobs, self._notifier = jobs, notifier

    async def follow(self, principal: Principal, job_id: JobId, *, after: int = 0) -> AsyncGenerator[Job | Event, None]:
        """The job, its events above `after`, and the job again after whatever happened; its end is the last.

        Close it (`aclosing`) when the listener has gone. Raises NotFound; Unavailable when the database is away or this
        process stops: then follow again, from the last event seen.
        """
        with self._notifier.watch(job_id) as changes:
            job = await asyncio.to_thread(self._jobs.get, principal, job_id)
            yield job
            told = True
            while True:
                async with aclosing(self._events(principal, job, after)) as events:
                    async for event in events:
                        yield event
                        after, told = event.number, False
                if not told:
                    yield job
                if job.state in TERMINAL:
                    return
                job, told = await self._next(principal, job, changes), False

    async def _events(self, principal: Principal, job: Job, after: int) -> AsyncGenerator[Event, None]:
        """Those that `job` knows of: later ones come with the job that they made."""
        while after < job.event_count:
            page = await asyncio.to_thread(partial(self._jobs.events, principal, job.id, after=after))
            for event in page.items:
                if event.number > job.event_count:
                    return
                yield event
                after = event.number

    async def _next(self, principal: Principal, job: Job, changes: Changes) -> Job:
        """The job's next version. What woke us for nothing costs one small query."""
        while True:
            await changes.wait()
            if await asyncio.to_thread(self._jobs.version, principal, job.id) != job.version:
                return await asyncio.to_thread(self._jobs.get, principal, job.id)
