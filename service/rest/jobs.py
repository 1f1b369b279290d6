"""Jobs: post, read, list, follow; cancel, pause, resume, retry; clone, certificate."""

from functools import partial
from typing import Annotated, Any

from fastapi import Header, Path, Query, Response

from service.domain import jobs as domain
from service.domain import verbs
from service.domain.ids import JobId
from service.domain.recipes import CertificateRequest, JobRequest
from service.rest.asking import Ask, Asker, Keyed, marked, refusals, router
from service.wire import bodies, ranges, shapes
from service.wire.queries import EventsQuery, JobsQuery

jobs = router("jobs")

Id = Annotated[JobId, Path(description="The job's id: job_…")]
NO_OVERRIDES, DEFAULTS = shapes.Overrides({}), CertificateRequest()


@jobs.post("/jobs", status_code=201, responses=refusals(409, 413, 415, 422, 503))
def create_job(body: JobRequest, response: Response, ask: Ask, asker: Asker, keyed: Keyed) -> shapes.Job:
    """Queue a job. The answer's recipe holds every default and name resolved."""
    return _made(response, *ask.jobs.submit(asker, body, keyed))


@jobs.get("/jobs", responses=refusals(422, 503))
def list_jobs(query: Annotated[JobsQuery, Query()], ask: Ask, asker: Asker) -> shapes.List[shapes.Job]:
    """Jobs, newest first."""
    return shapes.page(
        ask.jobs.list(asker, state=query.state, kind=query.kind, cursor=query.cursor, limit=query.limit), shapes.Job.of
    )


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


@jobs.post("/jobs/{id}/cancel", responses=refusals(404, 409, 422, 503))
def cancel_job(id: Id, response: Response, ask: Ask, asker: Asker, keyed: Keyed) -> shapes.Job:
    """Stop a job: at once where it waits, else at its next step. Cancelling twice is no error."""
    return _changed(response, *ask.jobs.ask(asker, id, verbs.CANCEL, keyed))


@jobs.post("/jobs/{id}/pause", responses=refusals(404, 409, 422, 503))
def pause_job(id: Id, response: Response, ask: Ask, asker: Asker, keyed: Keyed) -> shapes.Job:
    """Stop a running job at its next step, with a checkpoint, until it is resumed. Pausing twice is no error."""
    return _changed(response, *ask.jobs.ask(asker, id, verbs.PAUSE, keyed))


@jobs.post("/jobs/{id}/resume", responses=refusals(404, 409, 422, 503))
def resume_job(id: Id, response: Response, ask: Ask, asker: Asker, keyed: Keyed) -> shapes.Job:
    """Queue a paused job again; it goes on from its last good checkpoint."""
    return _changed(response, *ask.jobs.ask(asker, id, verbs.RESUME, keyed))


@jobs.post("/jobs/{id}/retry", responses=refusals(404, 409, 422, 503))
def retry_job(id: Id, response: Response, ask: Ask, asker: Asker, keyed: Keyed) -> shapes.Job:
    """Queue a failed job again, from its last good checkpoint; its attempts are counted from 0 again."""
    return _changed(response, *ask.jobs.ask(asker, id, verbs.RETRY, keyed))


@jobs.post("/jobs/{id}/clone", status_code=201, responses=refusals(404, 409, 413, 415, 422, 503))
def clone_job(
    *, id: Id, body: shapes.Overrides = NO_OVERRIDES, response: Response, ask: Ask, asker: Asker, keyed: Keyed
) -> shapes.Job:
    """Queue a job of the same request, changed by the body (JSON Merge Patch, RFC 7396), which may be left out."""
    read = partial(bodies.parse, JobRequest)
    return _made(response, *ask.jobs.clone(asker, id, body.root, read, keyed))


@jobs.post("/jobs/{id}/certificate", status_code=201, responses=refusals(404, 409, 413, 415, 422, 503))
def certify_job(
    *, id: Id, body: CertificateRequest = DEFAULTS, response: Response, ask: Ask, asker: Asker, keyed: Keyed
) -> shapes.Job:
    """Queue a certificate: a worker replays steps from a stored checkpoint and says whether the next one's digest is met.

    It is a job of its own, with the certified one as its parent. The body may be left out.
    """
    return _made(response, *ask.jobs.certify(asker, id, body, keyed))


@jobs.get("/jobs/{id}/events", responses=refusals(404, 422, 503))
def list_events(id: Id, query: Annotated[EventsQuery, Query()], ask: Ask, asker: Asker) -> shapes.List[shapes.Event]:
    """What happened, in order. Go on with `after` = the last number seen."""
    return shapes.page(ask.jobs.events(asker, id, after=query.after, limit=query.limit), shapes.Event.of)


def _changed(response: Response, job: domain.Job, replayed: bool) -> shapes.Job:
    return shapes.Job.of(marked(response, job, replayed))


def _made(response: Response, job: domain.Job, replayed: bool) -> shapes.Job:
    response.headers["Location"] = f"/jobs/{job.id}"
    return _changed(response, job, replayed)


def _tag(version: int) -> str:
    return f'"{version}"'
