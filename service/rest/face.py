"""The routers put together behind the guard, and the OpenAPI file that they make (docs/openapi.json)."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.types import Lifespan

from service.domain.files import MAX_FILE_BYTES
from service.rest.artifacts import artifacts
from service.rest.asking import Operations, refusals
from service.rest.files import files
from service.rest.health import health
from service.rest.jobs import jobs
from service.rest.models import models
from service.rest.receipts import receipts
from service.wire import problems
from service.wire.guard import Guard

MULTIPART = 2**20
"""What a form may add around the file in it."""


def make_app(operations: Operations | None, key: str | None, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The gateway's app. `operations` None: only to describe it.

    /openapi.json needs the key like all else. No /docs: that page would load its scripts from another site.
    """
    app = FastAPI(
        title="Strop",
        version="1",
        description="Sharpens text-to-image diffusion models: post a job, get a LoRA adapter. Refusals are problem+json.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        lifespan=lifespan,
    )
    app.state.operations = operations
    for router in (jobs, artifacts, files, models, receipts, health):
        app.include_router(router)
    problems.install(app)
    links = operations.links if operations else None
    app.add_middleware(Guard, key=key, links=links, bounds={"/files": MAX_FILE_BYTES + MULTIPART})
    made = app.openapi
    app.openapi = lambda: _with_problems(made())  # type: ignore[method-assign]
    return app


def openapi_text() -> str:
    """docs/openapi.json, whole."""
    return json.dumps(make_app(None, None).openapi(), indent=2, ensure_ascii=False) + "\n"


def _operation_id(route: APIRoute) -> str:
    return route.name


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI describes its own refusals; ours take their place."""
    schemas = document["components"]["schemas"]
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    _, ours = models_json_schema([(problems.Problem, "serialization")], ref_template="#/components/schemas/{model}")
    schemas.update(ours["$defs"])
    for methods in document["paths"].values():
        for operation in methods.values():
            if "HTTPValidationError" in json.dumps(operation["responses"].get("422", {})):
                operation["responses"]["422"] = refusals(422)[422]
    return document
