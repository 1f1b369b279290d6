"""The gateway: `uvicorn service.app:create_app --factory`. The whole wiring of its process, and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fastapi import FastAPI

from service import settings, telemetry
from service.adapters import catalogue, db, queue, storage
from service.operations.artifacts import Artifacts
from service.operations.files import Files
from service.operations.jobs import Jobs
from service.operations.models import Models
from service.rest import face
from service.rest.asking import Operations
from service.wire.links import Links, secret


def create_app(given: settings.Settings | None = None) -> FastAPI:
    """Wire the gateway by the settings: those of the environment, unless `given`."""
    chosen = given or settings.load()
    telemetry.configure("gateway", chosen.log_level)
    database = db.connect(chosen.database_url)
    store = storage.make(chosen.store_url, chosen.s3_endpoint_url, chosen.s3_public_url)
    known = catalogue.load(chosen.catalogue)
    key = chosen.api_key.get_secret_value() if chosen.api_key else None
    link_key = chosen.link_key.get_secret_value() if chosen.link_key else None
    operations = Operations(
        jobs=Jobs(database, queue.Doorbell(chosen.broker_url), known, store),
        files=Files(database, store),
        models=Models(database, known),
        artifacts=Artifacts(database, store),
        links=Links(secret(link_key, key), lambda: datetime.now(UTC)),
        ready=database.ping,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        database.close()

    return face.make_app(operations, key, lifespan)
