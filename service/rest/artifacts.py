"""A job's files: the list with links, and the bytes behind a link."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Request, Response

from service.domain import artifacts as domain
from service.domain.ids import Fence, JobId
from service.domain.principals import Principal
from service.rest.asking import Ask, Asker, Operations, refusals, router
from service.wire import ranges, shapes

artifacts = router("artifacts")

Id = Annotated[JobId, Path(description="The job's id: job_…")]
DOWNLOAD = "/jobs/{id}/artifacts/{fence}/{name}"


@artifacts.get("/jobs/{id}/artifacts", responses=refusals(404, 503))
def list_artifacts(id: Id, request: Request, ask: Ask, asker: Asker) -> shapes.List[shapes.Artifact]:
    """Every stored file of the job: adapter, manifest, checkpoints, samples, log. Each with a link that expires."""
    return shapes.whole(ask.artifacts.list(asker, id), lambda each: _linked(each, request, ask, asker))


@artifacts.head(DOWNLOAD, include_in_schema=False)
@artifacts.get(
    DOWNLOAD,
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {"application/octet-stream": {}}},
        206: {"description": "The range asked for.", "content": {"application/octet-stream": {}}},
        **refusals(404, 416, 503),
    },
)
def download_artifact(
    *,
    id: Id,
    fence: Annotated[int, Path(ge=0, lt=2**31, description="The attempt that made it.")],
    name: Annotated[str, Path(max_length=255, description="The file's name.")],
    request: Request,
    ask: Ask,
    asker: Asker,
    token: Annotated[str | None, Query(description="The link's token, in place of the key.")] = None,
) -> Response:
    """The bytes, by the key or by a link's token. One Range is supported; the ETag is the SHA-256."""
    file = ask.artifacts.find(asker, id, Fence(fence), name)
    return ranges.serve(request, file, lambda start, end: ask.artifacts.read(file, start, end))


def _linked(artifact: domain.Artifact, request: Request, ask: Operations, asker: Principal) -> shapes.Artifact:
    path = DOWNLOAD.format(id=artifact.job, fence=artifact.fence, name=artifact.name)
    token, expires = ask.links.token(asker, path)
    here = (ask.url or str(request.base_url)).rstrip("/")
    url = ask.artifacts.public_url(artifact) or f"{here}{path}?token={token}"
    return shapes.Artifact.of(artifact, url, datetime.fromtimestamp(expires, UTC))
