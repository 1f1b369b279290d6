"""Jobs: create, get, list, cancel, watch."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from strop.v1 import jobs_pb2, jobs_pb2_grpc

from service.domain.ids import JobId
from service.domain.jobs import Job
from service.domain.principals import Principal
from service.domain.recipes import JobRequest
from service.operations import jobs, watching
from service.rpc import messages
from service.rpc.refusals import TooManyWatches
from service.wire import bodies, queries, shapes

MAX_WATCHES = 1_000


class Jobs(jobs_pb2_grpc.JobsServicer):
    def __init__(self, operations: jobs.Jobs, watching: watching.Watching) -> None:
        self._jobs, self._watching = operations, watching
        self._watches = 0

    def Create(self, request: jobs_pb2.JobsCreateRequest, asker: Principal) -> jobs_pb2.JobsCreateResponse:
        given = messages.json_of(request)
        key = given.pop("idempotency_key", None)
        raw = messages.canonical(given)
        body = bodies.parse(JobRequest, raw)
        job, replayed = self._jobs.submit(asker, body, idempotency_key=key, body=raw)
        return jobs_pb2.JobsCreateResponse(job=_message(job), replayed=replayed)

    def Get(self, request: jobs_pb2.JobsGetRequest, asker: Principal) -> jobs_pb2.JobsGetResponse:
        return jobs_pb2.JobsGetResponse(job=_message(self._jobs.get(asker, JobId(request.id))))

    def List(self, request: jobs_pb2.JobsListRequest, asker: Principal) -> jobs_pb2.JobsListResponse:
        given = messages.json_of(request)
        if request.state:
            given["state"] = messages.state_of(request.state)
        asked = queries.read(queries.JobsQuery, given)
        page = self._jobs.list(asker, state=asked.state, cursor=asked.cursor, limit=asked.limit)
        answer = jobs_pb2.JobsListResponse(has_more=page.has_more, next_cursor=page.next_cursor)
        return messages.fill_list(answer, map(shapes.Job.of, page.items))

    def Cancel(self, request: jobs_pb2.JobsCancelRequest, asker: Principal) -> jobs_pb2.JobsCancelResponse:
        return jobs_pb2.JobsCancelResponse(job=_message(self._jobs.cancel(asker, JobId(request.id))))

    async def Watch(
        self, request: jobs_pb2.JobsWatchRequest, asker: Principal
    ) -> AsyncGenerator[jobs_pb2.JobsWatchResponse, None]:
        after = queries.read(queries.EventsQuery, {"after": request.after}).after
        if self._watches >= MAX_WATCHES:
            raise TooManyWatches
        self._watches += 1
        try:
            async with aclosing(self._watching.follow(asker, JobId(request.id), after=after)) as updates:
                async for update in updates:
                    if isinstance(update, Job):
                        yield jobs_pb2.JobsWatchResponse(job=_message(update))
                    else:
                        event = messages.fill(jobs_pb2.Event(), shapes.Event.of(update))
                        yield jobs_pb2.JobsWatchResponse(event=event)
        finally:
            self._watches -= 1


def _message(job: Job) -> jobs_pb2.Job:
    return messages.fill(jobs_pb2.Job(), shapes.Job.of(job))
