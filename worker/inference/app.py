"""The inference endpoint: `uvicorn worker.inference.app:create_app --factory`. One process, one engine, one device."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import torch
from diffusers.utils import logging as diffusers_logging
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.types import Lifespan

from service import settings, telemetry
from service.adapters import catalogue, db, storage
from service.domain.catalogue import BaseModelEntry
from service.domain.errors import JobFailure, Unavailable
from service.domain.principals import Principal
from service.operations.models import Models
from service.operations.receipts import Receipts
from service.wire import problems
from service.wire.bodies import StrictRoute
from service.wire.guard import Guard
from worker.inference import bases, receipts, shapes
from worker.inference.cache import AdapterCache
from worker.inference.cache_disk import DiskLevel
from worker.inference.cache_watch import DeletionWatch
from worker.inference.engine import Engine
from worker.inference.images import Images
from worker.inference.judges import Judging
from worker.inference.names import Names
from worker.inference.receipt_bench import Bench
from worker.inference.receipt_desk import Desk
from worker.inference.requests import AdapterCorrupt, QueueFull
from worker.models.family import Family
from worker.models.load import load

STATUSES = {QueueFull: 429, AdapterCorrupt: 409, JobFailure: 503}

MIB = 2**20

routes = APIRouter(route_class=StrictRoute)


def create_app(given: settings.Settings | None = None) -> FastAPI:
    """Wire the endpoint by the settings (of the environment, unless `given`). Base models load when first asked for."""
    chosen = given or settings.load()
    telemetry.configure("inference", chosen.log_level)
    torch.set_num_threads(chosen.threads)
    diffusers_logging.set_verbosity_error()  # each adapter without text-encoder layers would be a warning
    known = catalogue.load(chosen.catalogue)
    database = db.connect(chosen.database_url)
    cache = chosen.cache_dir or Path()

    def load_base(entry: BaseModelEntry) -> Family:
        return load(entry.family, bases.folder(entry, cache), device=chosen.device, resolution=entry.resolution)

    engine = Engine(load_base)
    models = Models(database, known)
    names = Names(models, known)
    store = storage.make(chosen.store_url, chosen.s3_endpoint_url)
    adapters = AdapterCache(
        store,
        DiskLevel(cache / "adapters", chosen.adapter_disk_mib * MIB),
        chosen.adapter_memory_mib * MIB,
    )
    deletions = DeletionWatch(models, adapters, [names.forget, engine.evict])
    images = Images(names, adapters, engine, clock=lambda: datetime.now(UTC))
    judging = Judging(known, cache, chosen.device)
    desk = Desk(Bench(engine, known, adapters.fetch, judging, images.clock))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with deletions.running():
            yield
        desk.close()
        engine.close()
        adapters.close()
        database.close()

    app = make_app(images, chosen.api_key.get_secret_value() if chosen.api_key else None, lifespan)
    receipts.install(app, desk, Receipts(database, store))
    return app


def make_app(images: Images, key: str | None, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The HTTP app over an engine."""
    app = FastAPI(title="Strop inference", docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.state.images = images
    app.include_router(routes)
    problems.install(app, STATUSES)
    app.add_middleware(Guard, key=key)
    return app


def _images(request: Request) -> Images:
    images: Images = request.app.state.images
    return images


def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


Ask: TypeAlias = Annotated[Images, Depends(_images)]
Asker: TypeAlias = Annotated[Principal, Depends(_principal)]


@routes.post("/v1/images/generations")
def generate(body: shapes.ImageRequest, ask: Ask, asker: Asker) -> shapes.ImageAnswer:
    """Draw pictures. OpenAI's shape; seed, num_inference_steps, guidance_scale and negative_prompt beside it."""
    return ask.generate(asker, body)


@routes.get("/v1/models")
def list_models(ask: Ask, asker: Asker) -> shapes.Models:
    """The names that `model` may be: base models, and each adapter's versions."""
    return shapes.Models(data=ask.models(asker))


@routes.get("/healthz")
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@routes.get("/readyz")
def ready(ask: Ask) -> dict[str, str]:
    """The engine's loop takes requests. The database may be away: what was resolved is served on."""
    if not ask.engine.alive:
        raise Unavailable("The engine does not take requests.")
    return {"status": "ok"}
