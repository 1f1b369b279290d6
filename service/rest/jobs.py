"""Jobs: post, read, list, cancel, follow."""

from typing import Annotated, Any

from fastapi import Header, Path, Query, Request, Response

from service.domain.ids import JobId
from service.domain.recipes import JobRequest
from service.rest.asking import Ask, Asker, refusals, router
from service.wire import ranges, shapes
from service.wire.queries import EventsQuery, JobsQuery

jobs = router("jobs")

Id = Annotated[JobId, Path(description="The job's id: job_…")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        json_schema_extra={"minLength": 1, "maxLength": 255},  # checked by the operation, for every face alike
        description="The same key with the same body makes one job, however often it is sent.",
    ),
]


@jobs.post("/jobs", status_code=201, responses=refusals(409, 413, 415, 422, 503))
def create_job(
    *,
    body: JobRequest,
    request: Request,
    response: Response,
    ask: Ask,
    asker: Asker,
    idempotency_key: IdempotencyKey = None,
) -> shapes.Job:
    """Queue a job. The answer's recipe holds every default and name resolved."""
    raw: bytes = request._body  # read and kept by StrictRoute; the digest of a replay is over the very bytes
    job, replayed = ask.jobs.submit(asker, body, idempotency_key=idempotency_key, body=raw)
    response.headers["Location"] = f"/jobs/{job.id}"
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return shapes.Job.of(job)


@jobs.get("/jobs", responses=refusals(422, 503))
def list_jobs(query: Annotated[JobsQuery, Query()], ask: Ask, asker: Asker) -> shapes.List[shapes.Job]:
    """Jobs, newest first."""
    return shapes.page(ask.jobs.list(asker, state=query.state, cursor=query.cursor, limit=query.limit), shapes.Job.of)


@jobs.get(
    "/jobs/{id}",
    response_model=shapes.Job,
    responses={304: {"description": "Not changed since the ETag."}, **refusals(404, 503)},
)
def get_job(
    id: Id,
    response: Response,
    ask: Ask,
    asker: Asker,
    if_none_match: Annotated[str | None, Header(description="The ETag of an earlier answer.")] = None,
) -> Any:
    """One job. With If-None-Match a poll that finds nothing new costs one small query and no body."""
    if if_none_match and ranges.matches(if_none_match, tag := _tag(ask.jobs.version(asker, id))):
        return Response(status_code=304, headers={"ETag": tag})
    job = ask.jobs.get(asker, id)
    response.headers["ETag"] = _tag(job.version)
    return shapes.Job.of(job)


@jobs.post("/jobs/{id}/cancel", responses=refusals(404, 409, 503))
def cancel_job(id: Id, ask: Ask, asker: Asker) -> shapes.Job:
    """Stop a job: at once where it waits, else at its next step. Cancelling twice is no error."""
    return shapes.Job.of(ask.jobs.cancel(asker, id))


@jobs.get("/jobs/{id}/events", responses=refusals(404, 422, 503))
def list_events(id: Id, query: Annotated[EventsQuery, Query()], ask: Ask, asker: Asker) -> shapes.List[shapes.Event]:
    """What happened, in order. Go on with `after` = the last number seen."""
    return shapes.page(ask.jobs.events(asker, id, after=query.after, limit=query.limit), shapes.Event.of)


def _tag(version: int) -> str:
    return f'"{version}"'
