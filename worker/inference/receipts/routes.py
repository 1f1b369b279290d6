"""`POST /v1/receipts`: what an adapter does beside its base model, measured now.

It takes from seconds to many minutes: it is asked for (202), and followed at GET /v1/receipts/{id}. What is answered here is
not signed: a receipt that is to last is asked for, signed and stored by the steward.
"""

import asyncio
import re
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.domain.principals import Principal
from service.domain.receipts import MAX_PICTURES, MAX_PROMPTS, Receipt
from service.domain.recipes import MAX_PROMPT_LENGTH
from service.operations.receipts import Receipts
from service.wire.bodies import StrictRoute
from service.wire.moments import Moment
from worker.inference.receipts.desk import Asked, Desk, Status

LONGEST_WAIT = 30
"""Seconds for which an answer is held back for news."""

routes = APIRouter(route_class=StrictRoute)

Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_LENGTH)]
Seed = Annotated[int, Field(ge=0, lt=2**62)]


class ReceiptRequest(BaseModel):
    """The body of `POST /v1/receipts`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapter: str = Field(
        min_length=1, max_length=128, description="An adapter (its newest version), adapter@2, adapter@alias."
    )
    prompts: tuple[Prompt, ...] | None = Field(
        default=None, min_length=1, max_length=MAX_PROMPTS,
        description="What to draw; default: the first of the job's validation prompts, else of its training prompts.",
    )  # fmt: skip
    seeds: tuple[Seed, ...] | None = Field(
        default=None, min_length=1, max_length=MAX_PICTURES,
        description="One a picture, as many for each prompt as for the others: picture i is of prompt i modulo their number. "
        "Default: four pictures a prompt, from 0, 1, 2, …",
    )  # fmt: skip


class Error(BaseModel):
    """Why a measurement failed."""

    code: str
    message: str


class Measurement(BaseModel):
    """A measurement and how far it is."""

    id: str
    object: Literal["receipt.request"] = "receipt.request"
    status: Status
    created_at: Moment
    adapter: str
    progress: float = Field(description="Share of the drawing that is done, 0 to 1.")
    receipt: Receipt | None = Field(description="Not signed. Its verdict may be failed: that is no error.")
    error: Error | None

    @classmethod
    def of(cls, asked: Asked) -> "Measurement":
        error = Error(code=asked.error.code, message=asked.error.message) if asked.error else None
        return cls(
            id=asked.id, status=asked.status, created_at=asked.created_at, adapter=asked.subject.version.reference,
            progress=asked.progress, receipt=asked.receipt, error=error,
        )  # fmt: skip


async def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.receipts
    return desk


async def _subjects(request: Request) -> Receipts:
    subjects: Receipts = request.app.state.receipt_subjects
    return subjects


async def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


async def _wait(
    prefer: Annotated[
        str | None, Header(description="wait=SECONDS (RFC 7240): hold the answer back for news, 30 s at most.")
    ] = None,
) -> int:
    found = re.search(r"\bwait=(\d{1,4})\b", prefer or "")
    return int(found[1]) if found else 0


At = Annotated[Desk, Depends(_desk)]
Subjects = Annotated[Receipts, Depends(_subjects)]
Asker = Annotated[Principal, Depends(_principal)]
Wait = Annotated[int, Depends(_wait)]


def install(app: FastAPI, desk: Desk, subjects: Receipts) -> None:
    """Add the routes to the endpoint."""
    app.state.receipts, app.state.receipt_subjects = desk, subjects
    app.include_router(routes)


@routes.post("/v1/receipts", status_code=202)
async def ask(
    *, body: ReceiptRequest, desk: At, subjects: Subjects, asker: Asker, wait: Wait, response: Response
) -> Measurement:
    """Have an adapter measured beside its base. 202; 200 where it was done within `Prefer: wait=SECONDS`."""
    subject = await run_in_threadpool(subjects.subject, asker, body.adapter, body.prompts, body.seeds)
    asked = await _news(desk.ask(subject), wait)
    response.status_code = 200 if asked.ended.done() else 202
    response.headers["Location"] = f"/v1/receipts/{asked.id}"
    return Measurement.of(asked)


@routes.get("/v1/receipts/{id}")
async def follow(id: Annotated[str, Path(max_length=64)], desk: At, asker: Asker, wait: Wait) -> Measurement:
    """How far a measurement is. The process that measures remembers it, until 64 others have come or it ends."""
    return Measurement.of(await _news(desk.get(asker, id), wait))


async def _news(asked: Asked, seconds: int) -> Asked:
    """Waits until it has ended, at most so long, and holds no thread: there are few, and every route needs them."""
    if seconds:
        await asyncio.wait({asyncio.wrap_future(asked.ended)}, timeout=min(seconds, LONGEST_WAIT))
    return asked
