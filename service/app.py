"""The gateway: `uvicorn service.app:create_app --factory`. The whole wiring of its process, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version

from fastapi import FastAPI

from service import settings, telemetry
from service.adapters import catalogue, db, queue, storage
from service.operations.adapters import Adapters
from service.operations.artifacts import Artifacts
from service.operations.files import Files
from service.operations.jobs import Jobs
from service.operations.models import Models
from service.operations.receipts import Receipts
from service.operations.watching import Watching
from service.rest import face as rest
from service.rest.asking import Operations
from service.rpc import face as rpc
from service.web import pages
from service.wire.links import Links, secret
from service.wire.listening import refuse_taken_port
from service.wire.shapes import Places

THREADS = 16
"""For what the gRPC face asks; REST has threads of its own."""


def create_app(given: settings.Settings | None = None) -> FastAPI:
    """Wire the gateway by the settings: those of the environment, unless `given`. SystemExit where the gRPC port is taken."""
    chosen = given or settings.load()
    telemetry.configure("gateway", chosen.log_level)
    refuse_taken_port("STROP_GRPC_PORT", chosen.host, chosen.grpc_port)
    database = db.connect(chosen.database_url)
    store = storage.make(chosen.store_url, chosen.s3_endpoint_url, chosen.s3_public_url)
    known = catalogue.load(chosen.catalogue)
    key = chosen.api_key.get_secret_value() if chosen.api_key else None
    link_key = chosen.link_key.get_secret_value() if chosen.link_key else None
    jobs, models = Jobs(database, queue.Doorbell(chosen.broker_url), known, store), Models(database, known)
    adapters = Adapters(database, store)
    notifier = db.JobNotifier(database)
    grpc_face = rpc.Face(
        rpc.Operations(jobs, models, adapters, Watching(jobs, notifier)), key, chosen.host, chosen.grpc_port
    )

    def places() -> Places:
        return Places(
            version=version("strop-service"),
            grpc_port=grpc_face.port,
            inference_port=chosen.inference_port,
            grpc_url=chosen.grpc_url,
            inference_url=chosen.inference_url,
        )

    operations = Operations(
        jobs=jobs,
        files=Files(database, store),
        models=models,
        adapters=adapters,
        artifacts=Artifacts(database, store),
        receipts=Receipts(database, store),
        links=Links(secret(link_key, key), lambda: datetime.now(UTC)),
        url=chosen.gateway_url,
        ready=database.ping,
        places=places,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "operations"))
        async with grpc_face.serving(), notifier.running():  # the other way round at the end: watches end first
            yield
        database.close()

    app = rest.make_app(operations, key, lifespan)
    pages.install(app, chosen.s3_public_url)
    return app
