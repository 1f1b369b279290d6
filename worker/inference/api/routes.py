"""The routes: each translates, calls once, and translates back."""

import asyncio
import re
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from service.domain.errors import Damaged, NotFound
from service.domain.principals import Principal
from service.wire.bodies import StrictRoute
from worker.inference.api import streams, waiting
from worker.inference.api.answers import Drawing, ImageAnswer, Model, Models
from worker.inference.api.encode import MEDIA_TYPES
from worker.inference.api.endpoint import Endpoint
from worker.inference.api.giving import FILES
from worker.inference.api.images import Begun
from worker.inference.api.later import BEAT_SECONDS, ENDED
from worker.inference.api.metrics import CONTENT_TYPE
from worker.inference.api.shapes import ImageRequest
from worker.inference.engine.requests import Watch

GENERATIONS = "/v1/images/generations"
REQUESTS = "/v1/images/requests/"
POLL_SECONDS = "2"
CANCEL_SECONDS = 3 * BEAT_SECONDS
"""For which a cancel is held back until the process that draws has heard of it."""
CLIENT_GONE = 499
"""Nobody reads this status; logs of proxies use it so."""
_PICTURE = re.compile(r"picture_[0-9a-z]{26}\.(png|jpeg|webp)")
_DRAWING = re.compile(r"drawing_[0-9a-z]{26}")

routes = APIRouter(route_class=StrictRoute)


async def _endpoint(request: Request) -> Endpoint:
    endpoint: Endpoint = request.app.state.endpoint
    return endpoint


async def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


Ask: TypeAlias = Annotated[Endpoint, Depends(_endpoint)]
Asker: TypeAlias = Annotated[Principal, Depends(_principal)]
Id: TypeAlias = Annotated[str, Path(max_length=64, description="drawing_…")]


@routes.post(
    GENERATIONS,
    response_model=ImageAnswer,
    responses={202: {"model": Drawing, "description": "Asked for asynchronously: fetch it at Location."}},
)
async def generate(
    body: ImageRequest,
    request: Request,
    ask: Ask,
    asker: Asker,
    prefer: Annotated[str, Header(description="respond-async asks for an asynchronous answer (RFC 7240).")] = "",
) -> Response:
    """Draw pictures: the answer when they are drawn, events as they come about (`stream`), or 202 at once."""
    base_url = ask.url or str(request.base_url)

    def begin(watch: Watch | None = None) -> Begun:
        return ask.images.begin(asker, body, watch)

    if body.stream:
        return await streams.stream(begin, ask.giving, request)
    preferred = "respond-async" in {each.split(";")[0].strip().lower() for each in prefer.split(",")}
    if body.is_background or preferred:
        drawing = await run_in_threadpool(ask.drawings.begin, asker, begin, base_url)
        applied = {"Preference-Applied": "respond-async"} if preferred else {}
        return _drawing(drawing, 202, {"Location": REQUESTS + drawing.id, **applied})
    begun = await run_in_threadpool(begin)
    try:
        drawn = await waiting.drawn(begun.ticket, request)
    except waiting.ClientGone:
        return Response(status_code=CLIENT_GONE)
    return _json(await run_in_threadpool(ask.giving.answer, begun, drawn, base_url))


@routes.get(REQUESTS + "{id}", response_model=Drawing)
def get_request(id: Id, ask: Ask, asker: Asker) -> Response:
    """An asynchronous request as it is now, with its answer once it is completed."""
    return _drawing(ask.drawings.get(asker, _known(id)), 200)


@routes.delete(REQUESTS + "{id}", response_model=Drawing)
async def cancel_request(id: Id, ask: Ask, asker: Asker) -> Response:
    """Give up an asynchronous request: no step begins after the one that runs. One that has ended stays as it is."""
    drawing = await run_in_threadpool(ask.drawings.cancel, asker, _known(id))
    until = asyncio.get_running_loop().time() + CANCEL_SECONDS
    while drawing.status not in ENDED and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(BEAT_SECONDS / 8)  # it holds no thread meanwhile
        drawing = await run_in_threadpool(ask.drawings.get, asker, drawing.id)
    return _drawing(drawing, 200)


@routes.head(FILES + "{name}", include_in_schema=False)
@routes.get(FILES + "{name}", response_class=Response)
def get_picture(name: Annotated[str, Path(max_length=64)], ask: Ask, asker: Asker) -> Response:
    """A picture that was asked for as a link, by the link's token or the key, while it is kept."""
    match = _PICTURE.fullmatch(name)
    if match is None:
        raise NotFound("there is no such picture")
    try:
        data = ask.giving.files.read(asker.tenant, name)
    except Damaged:
        raise NotFound("there is no such picture, or its time is over") from None
    headers = {"Cache-Control": "private, max-age=60", "Content-Disposition": f'inline; filename="{name}"'}
    return Response(data, headers=headers, media_type=MEDIA_TYPES[match[1]])  # type: ignore[index]


@routes.get("/v1/models")
def list_models(ask: Ask, asker: Asker) -> Models:
    """The names that `model` may be: base models, each adapter's versions and aliases."""
    return Models(data=ask.images.models(asker))


@routes.get("/v1/models/{name}")
def get_model(name: Annotated[str, Path(max_length=256)], ask: Ask, asker: Asker) -> Model:
    """One of them."""
    return ask.images.model(asker, name)


@routes.get("/healthz")
async def alive(ask: Ask) -> dict[str, str]:
    """The process answers, and its engine is not at a standstill that only a new process ends. Waits for no thread."""
    ask.health.check_alive()
    return {"status": "ok"}


@routes.get("/readyz")
async def ready(ask: Ask) -> dict[str, str]:
    """Requests are taken and drawn. The database may be away: what was resolved is served on."""
    ask.health.check_ready()
    return {"status": "ok"}


@routes.get("/metrics", response_class=Response)
def metrics(ask: Ask) -> Response:
    """For Prometheus; needs the key."""
    return Response(ask.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _drawing(drawing: Drawing, status: int, headers: dict[str, str] | None = None) -> Response:
    again = {} if drawing.status in ENDED else {"Retry-After": POLL_SECONDS}
    return _json(drawing, status, {**again, **(headers or {})})


def _json(content: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Said once by pydantic: FastAPI would check megabytes of base64 again."""
    return Response(content.model_dump_json(), status, headers, media_type="application/json")


def _known(id: str) -> str:
    """What cannot be an id never reaches the store. Raises NotFound."""
    if not _DRAWING.fullmatch(id):
        raise NotFound(f"there is no request {id!r}")
    return id
