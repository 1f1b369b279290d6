"""The routes of receipts over an engine, for tests."""

from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from httpx import Response
from starlette.testclient import TestClient

from service.adapters import catalogue, db, storage
from service.domain.adapters import AdapterVersion
from service.domain.catalogue import BaseModelEntry
from service.domain.ids import TenantId
from service.domain.receipts import Receipt
from service.operations.receipts import Receipts
from service.settings import Settings
from service.wire import problems
from service.wire.guard import Guard
from tests.worker.inference.conftest import KEY
from worker.inference.adapters import file as adapter_file
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import LoraFile, QueueFull
from worker.inference.receipts import routes as receipts
from worker.inference.receipts.bench import Bench
from worker.inference.receipts.desk import Desk
from worker.inference.receipts.judges import Judging
from worker.models.base import PipelineFamily
from worker.models.load import load


class Site:
    """The routes of receipts over an engine, and the ways to spoil it."""

    def __init__(self, settings: Settings) -> None:
        self.known = catalogue.load(settings.catalogue)
        self.base = self.known.bases["tiny"]
        self.database, self.store = db.connect(settings.database_url), storage.make(settings.store_url)
        self.loaded: list[PipelineFamily] = []
        self.engine = Engine(self._load)
        judging = Judging(self.known, Path(), "cpu")
        self.bench = Bench(self.engine, self.known, self.fetch, judging, partial(datetime.now, UTC), pairs=1)
        self.desk = Desk(self.bench)
        self.app = FastAPI()
        receipts.install(self.app, self.desk, Receipts(self.database, self.store))
        problems.install(self.app, {QueueFull: 429})
        self.app.add_middleware(Guard, key=KEY)
        self.http = TestClient(self.app, headers={"Authorization": f"Bearer {KEY}"})

    def _load(self, entry: BaseModelEntry, folder: Path) -> PipelineFamily:
        family: PipelineFamily = load("sd", folder, device="cpu")
        self.loaded.append(family)
        return family

    def fetch(self, tenant: TenantId, version: AdapterVersion) -> "Future[LoraFile]":
        loaded: Future[LoraFile] = Future()
        content = b"".join(self.store.open(version.file.key))
        loaded.set_result(adapter_file.read(version.reference, version.file.sha256, content))
        return loaded

    def ask(self, wait: int = 30, **body: Any) -> Response:
        return self.http.post("/v1/receipts", json=body, headers={"Prefer": f"wait={wait}"} if wait else {})

    def measured(self, **body: Any) -> Receipt:
        answer = self.ask(adapter="red-things", **body)
        assert (answer.status_code, answer.json()["status"]) == (200, "completed"), answer.text
        return Receipt.model_validate(answer.json()["receipt"])

    def close(self) -> None:
        self.desk.close()
        self.engine.close()
        self.database.close()
