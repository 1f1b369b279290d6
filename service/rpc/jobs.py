"""Jobs: create, get, list, watch; cancel, pause, resume, retry; clone, certificate."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from strop.v1 import jobs_pb2, jobs_pb2_grpc

from service.domain import verbs
from service.domain.errors import FieldError, InvalidRequest
from service.domain.ids import JobId
from service.domain.jobs import Job
from service.domain.recipes import CertificateRequest, JobRequest
from service.operations import jobs, once, watching
from service.rpc import messages
from service.rpc.guard import Caller
from service.rpc.refusals import TooManyWatches
from service.wire import bodies, queries, shapes

MAX_WATCHES = 1_000
Answer = TypeVar("Answer", bound=Any)


class Jobs(jobs_pb2_grpc.JobsServicer):
    def __init__(self, operations: jobs.Jobs, watching: watching.Watching) -> None:
        self._jobs, self._watching = operations, watching
        self._watches = 0

    def Create(self, request: jobs_pb2.JobsCreateRequest, caller: Caller) -> jobs_pb2.JobsCreateResponse:
        given = messages.json_of(request)
        caller = _with_key(caller, given.pop("idempotency_key", None))
        raw = messages.canonical(given)
        body = bodies.parse(JobRequest, raw)
        made = self._jobs.submit(caller.principal, body, _keyed(caller, "/jobs", raw))
        return _answer(jobs_pb2.JobsCreateResponse(), *made)

    def Get(self, request: jobs_pb2.JobsGetRequest, caller: Caller) -> jobs_pb2.JobsGetResponse:
        return jobs_pb2.JobsGetResponse(job=_message(self._jobs.get(caller.principal, JobId(request.id))))

    def List(self, request: jobs_pb2.JobsListRequest, caller: Caller) -> jobs_pb2.JobsListResponse:
        given = messages.json_of(request)
        if request.state:
            given["state"] = messages.state_of(request.state)
        asked = queries.read(queries.JobsQuery, given)
        page = self._jobs.list(
            caller.principal, state=asked.state, kind=asked.kind, cursor=asked.cursor, limit=asked.limit
        )
        answer = jobs_pb2.JobsListResponse(has_more=page.has_more, next_cursor=page.next_cursor)
        return messages.fill_list(answer, map(shapes.Job.of, page.items))

    def Cancel(self, request: jobs_pb2.JobsCancelRequest, caller: Caller) -> jobs_pb2.JobsCancelResponse:
        return _answer(jobs_pb2.JobsCancelResponse(), *self._ask(request.id, verbs.CANCEL, caller))

    def Pause(self, request: jobs_pb2.JobsPauseRequest, caller: Caller) -> jobs_pb2.JobsPauseResponse:
        return _answer(jobs_pb2.JobsPauseResponse(), *self._ask(request.id, verbs.PAUSE, caller))

    def Resume(self, request: jobs_pb2.JobsResumeRequest, caller: Caller) -> jobs_pb2.JobsResumeResponse:
        return _answer(jobs_pb2.JobsResumeResponse(), *self._ask(request.id, verbs.RESUME, caller))

    def Retry(self, request: jobs_pb2.JobsRetryRequest, caller: Caller) -> jobs_pb2.JobsRetryResponse:
        return _answer(jobs_pb2.JobsRetryResponse(), *self._ask(request.id, verbs.RETRY, caller))

    def Clone(self, request: jobs_pb2.JobsCloneRequest, caller: Caller) -> jobs_pb2.JobsCloneResponse:
        raw = messages.canonical(messages.json_of(request).get("overrides", {}))
        overrides = bodies.parse(shapes.Overrides, raw).root
        read = partial(bodies.parse, JobRequest)
        keyed = _keyed(caller, f"/jobs/{request.id}/clone", raw)
        made = self._jobs.clone(caller.principal, JobId(request.id), overrides, read, keyed)
        return _answer(jobs_pb2.JobsCloneResponse(), *made)

    def Certificate(self, request: jobs_pb2.JobsCertificateRequest, caller: Caller) -> jobs_pb2.JobsCertificateResponse:
        given = messages.json_of(request)
        job = JobId(given.pop("id", ""))
        raw = messages.canonical(given)
        asked = bodies.parse(CertificateRequest, raw)
        made = self._jobs.certify(caller.principal, job, asked, _keyed(caller, f"/jobs/{job}/certificate", raw))
        return _answer(jobs_pb2.JobsCertificateResponse(), *made)

    async def Watch(
        self, request: jobs_pb2.JobsWatchRequest, caller: Caller
    ) -> AsyncGenerator[jobs_pb2.JobsWatchResponse, None]:
        after = queries.read(queries.EventsQuery, {"after": request.after}).after
        if self._watches >= MAX_WATCHES:
            raise TooManyWatches
        self._watches += 1
        try:
            async with aclosing(self._watching.follow(caller.principal, JobId(request.id), after=after)) as updates:
                async for update in updates:
                    if isinstance(update, Job):
                        yield jobs_pb2.JobsWatchResponse(job=_message(update))
                    else:
                        event = messages.fill(jobs_pb2.Event(), shapes.Event.of(update))
                        yield jobs_pb2.JobsWatchResponse(event=event)
        finally:
            self._watches -= 1

    def _ask(self, id: str, verb: verbs.Verb, caller: Caller) -> tuple[Job, bool]:
        return self._jobs.ask(caller.principal, JobId(id), verb, _keyed(caller, f"/jobs/{id}/{verb.name}"))


def _keyed(caller: Caller, path: str, body: bytes = b"") -> once.Keyed | None:
    """By the REST face's path; the same key cannot mean one thing there and another here."""
    return once.keyed(caller.idempotency_key, path, body)


def _with_key(caller: Caller, key: str | None) -> Caller:
    """Create has a field for the key, too. Raises InvalidRequest where the metadata says another."""
    if key is None:
        return caller
    if caller.idempotency_key not in (None, key):
        wrong = FieldError(once.FIELD, "the field and the metadata hold different keys", "send one of them")
        raise InvalidRequest(wrong.message, errors=(wrong,), code="invalid_idempotency_key")
    return replace(caller, idempotency_key=key)


def _answer(answer: Answer, job: Job, replayed: bool) -> Answer:
    answer.job.CopyFrom(_message(job))
    answer.replayed = replayed
    return answer


def _message(job: Job) -> jobs_pb2.Job:
    return messages.fill(jobs_pb2.Job(), shapes.Job.of(job))
