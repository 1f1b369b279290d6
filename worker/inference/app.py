"""The inference endpoint: `uvicorn worker.inference.app:create_app --factory`. One process, one engine, one device."""

import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_logging
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import Lifespan

from service import settings, telemetry
from service.adapters import catalogue, db, storage
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.errors import JobFailure
from service.operations.drawn import DrawnFiles
from service.operations.models import Models
from service.operations.receipts import Receipts
from service.wire import problems
from service.wire.guard import Guard
from service.wire.links import Links, secret
from worker.inference import bases
from worker.inference.adapters.cache import AdapterCache
from worker.inference.adapters.disk import DiskLevel
from worker.inference.adapters.names import Names
from worker.inference.adapters.watch import DeletionWatch
from worker.inference.api import refusals, safety
from worker.inference.api.endpoint import Endpoint
from worker.inference.api.giving import Giving
from worker.inference.api.health import Health, WarmUp
from worker.inference.api.images import Images
from worker.inference.api.later import Drawings
from worker.inference.api.metrics import Metrics
from worker.inference.api.routes import GENERATIONS, routes
from worker.inference.api.shapes import MAX_BODY
from worker.inference.api.stopping import drained_first
from worker.inference.engine import heap
from worker.inference.engine.engine import Engine
from worker.inference.receipts import routes as receipts
from worker.inference.receipts.bench import Bench
from worker.inference.receipts.desk import Desk
from worker.inference.receipts.judges import Judging
from worker.models.family import Family
from worker.models.load import load, pick_device

MIB = 2**20


def create_app(given: settings.Settings | None = None) -> FastAPI:
    """Wire the endpoint by the settings (of the environment, unless `given`). Base models load when first asked for."""
    chosen = given or settings.load()
    telemetry.configure("inference", chosen.log_level)
    _check_device(chosen.device)
    torch.set_num_threads(chosen.threads)
    heap.bound_primitives()
    diffusers_logging.set_verbosity_error()  # each adapter without text-encoder layers would be a warning
    known = catalogue.load(chosen.catalogue)
    warm = _named(known, chosen.warm())
    checker = safety.find(chosen.safety_checker)
    database = db.connect(chosen.database_url)
    store = storage.make(chosen.store_url, chosen.s3_endpoint_url, chosen.s3_public_url)
    cache = chosen.cache_dir or Path()
    key = chosen.api_key.get_secret_value() if chosen.api_key else None
    link_key = chosen.link_key.get_secret_value() if chosen.link_key else None

    def fetch_base(entry: BaseModelEntry) -> Path:
        return bases.folder(entry, cache)

    def load_base(entry: BaseModelEntry, folder: Path) -> Family:
        small = Path(entry.preview_decoder) if entry.preview_decoder else None
        return load(
            entry.family, folder, device=chosen.device, resolution=entry.resolution, preview_decoder=small,
            guidance=entry.guidance_scale,
        )  # fmt: skip

    def clock() -> datetime:
        return datetime.now(UTC)

    models = Models(database, known)
    names = Names(models, known)
    engine = Engine(
        load_base,
        fetch=fetch_base,
        waiting=chosen.max_waiting,
        loaded_bases=chosen.places(),
        slots=chosen.slots,
        slot_rank=chosen.slot_rank,
        slot_conv=chosen.slot_conv,
        batch_invariant=chosen.batch_invariant,
    )
    disk = DiskLevel(cache / "adapters", chosen.adapter_disk_mib * MIB)
    adapters = AdapterCache(store, disk, chosen.adapter_memory_mib * MIB)
    deletions = DeletionWatch(models, adapters, engine.slotted, (engine.evict, names.forget))
    files, links = DrawnFiles(store), Links(secret(link_key, key), clock)
    giving = Giving(files, links, checker, chosen.keep_drawn_seconds, clock)
    warm_up = WarmUp(engine, warm)
    endpoint = Endpoint(
        engine=engine,
        adapters=adapters,
        images=Images(names, adapters, engine),
        giving=giving,
        drawings=Drawings(files, giving, clock, chosen.keep_drawn_seconds),
        warm_up=warm_up,
        health=Health(engine, warm_up, chosen.stuck_seconds, chosen.step_timeout),
        metrics=Metrics(engine, adapters),
        url=chosen.inference_url,
    )

    judging = Judging(known, cache, chosen.device)
    desk = Desk(Bench(engine, known, adapters.fetch, judging, clock))

    def refuse() -> None:
        desk.close()
        endpoint.refuse()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with deletions.running(), drained_first(refuse, chosen.drain_seconds):
            yield
            desk.close()
            await run_in_threadpool(endpoint.close)
        database.close()
        _end_in_peace()

    app = make_app(endpoint, key, links, lifespan)
    receipts.install(app, desk, Receipts(database, store))
    return app


def make_app(endpoint: Endpoint, key: str | None, links: Links, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The HTTP app over its parts."""
    app = FastAPI(title="Strop inference", docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.state.endpoint = endpoint
    app.include_router(routes)
    respond = endpoint.metrics.counted(refusals.respond)
    problems.install(app, refusals.STATUSES, respond)
    bounds = {GENERATIONS: MAX_BODY}
    app.add_middleware(Guard, key=key, links=links, bounds=bounds, statuses=refusals.STATUSES, respond=respond)
    return app


def _end_in_peace() -> None:
    """uvicorn, when all is in order, raises the SIGTERM again that it heard, and the process would end by it. Blocked here, that
    second one comes to nothing and the exit code is 0. Only in the process's own thread, so only in its own process.
    """
    if threading.current_thread() is threading.main_thread():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _check_device(device: str) -> None:
    """Without the GPU that is named every request would fail, in a process that says that it is ready. Raises SystemExit."""
    try:
        pick_device(device)
    except JobFailure as error:
        raise SystemExit(f"strop: {error.message}") from error


def _named(known: Catalogue, names: tuple[str, ...]) -> list[BaseModelEntry]:
    if missing := [name for name in names if name not in known.bases]:
        raise SystemExit(f"strop: STROP_WARM_BASES: {', '.join(missing)} is not in the catalogue")
    return [known.bases[name] for name in names]
