"""`uvicorn --factory tests.faults.gateway_app:create_app`: the real gateway, built as FAULTS_BUILD says."""

from fastapi import FastAPI

from service import app
from tests.faults import builds


def create_app() -> FastAPI:
    builds.take_out()
    return app.create_app()
