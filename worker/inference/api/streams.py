"""Pictures as server-sent events, in the shape that OpenAI's clients read: previews, then each picture, or an error.

    event: image_generation.partial_image
    data: {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "…", …}

While nothing comes, a comment every few seconds keeps proxies from cutting the connection. A refusal that is known before
the first event is an ordinary answer with its status; a later one is an event, for the status is out.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.domain.errors import StropError
from service.wire import problems
from worker.inference.api.giving import Giving
from worker.inference.api.images import Begun
from worker.inference.api.refusals import STATUSES, error_of
from worker.inference.api.waiting import hand_over, outcome, tell
from worker.inference.engine.requests import Partial, Watch

KEEP_ALIVE_SECONDS = 15.0
logger = logging.getLogger(__name__)


class EventStream(StreamingResponse):
    """However it ends, nothing is drawn any more for a client that is gone."""

    def __init__(self, begun: Begun, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._ticket = begun.ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ticket.abort()


async def stream(begin: Callable[[Watch], Begun], giving: Giving, request: Request) -> EventStream:
    """`begin` puts the request into the queue, and raises what refuses it."""
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[Partial | None] = asyncio.Queue()

    def watch(preview: Partial) -> None:
        hand_over(loop, partial(came.put_nowait, preview))

    begun = await run_in_threadpool(begin, watch)
    tell(begun.ticket, partial(came.put_nowait, None))
    return EventStream(begun, _events(begun, giving, came, problems.request_id(request)))


async def _events(
    begun: Begun, giving: Giving, came: "asyncio.Queue[Partial | None]", request_id: str
) -> AsyncIterator[bytes]:
    try:
        while True:
            try:
                preview = await asyncio.wait_for(came.get(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield b": still drawing\n\n"
                continue
            if preview is None:
                break
            if shown := await run_in_threadpool(giving.preview, begun, preview):
                yield event(shown.type, shown)
        for picture in await run_in_threadpool(lambda: list(giving.completed(begun, outcome(begun.ticket)))):
            yield event(picture.type, picture)
    except StropError as error:
        yield _error(problems.of(error, request_id, {**problems.STATUSES, **STATUSES}))
    except Exception:
        logger.exception("a stream failed", extra={"request_id": request_id})
        yield _error(problems.unexpected(request_id))


def event(name: str, content: BaseModel) -> bytes:
    """JSON has no line breaks of its own, so one data line holds it."""
    return f"event: {name}\ndata: {content.model_dump_json()}\n\n".encode()


def _error(problem: problems.Problem) -> bytes:
    told = {"type": "error", "error": error_of(problem), "problem": problem.model_dump()}
    return f"event: error\ndata: {json.dumps(told)}\n\n".encode()
