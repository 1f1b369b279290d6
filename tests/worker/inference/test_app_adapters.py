"""Adapters at the endpoint: aliases that move under requests, and deletion that reaches every process on one database."""

import gc
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.adapters import db, storage
from service.domain.adapters import AliasRequest
from service.domain.principals import LOCAL
from service.operations.adapters import Adapters
from service.settings import Settings
from tests.eventually import eventually
from tests.worker.inference.conftest import KEY, Deliver
from tests.worker.inference.pictures import random_adapter
from worker.inference.adapters import file as adapter_file
from worker.inference.api.images import Images
from worker.inference.app import create_app
from worker.inference.engine.requests import LoraFile

GOOD = {"prompt": "a red circle", "seed": 7, "num_inference_steps": 1}


def drawn(endpoint: TestClient, model: str) -> tuple[int, str]:
    """(status, what `model` meant; or the refusal's code)."""
    answer = endpoint.post("/v1/images/generations", json={**GOOD, "model": model})
    said = answer.json()
    return answer.status_code, said.get("model") or said["code"]


def images_of(endpoint: TestClient) -> Images:
    images: Images = endpoint.app.state.endpoint.images  # type: ignore[attr-defined]
    return images


def in_a_slot(endpoint: TestClient, file: LoraFile) -> Any:
    images = images_of(endpoint)
    base = images.names.resolve(LOCAL, "tiny").base
    return images.engine.exclusively(base, lambda served: served.slots.holds(((file, 1.0),))).result(30)


@pytest.fixture
def owner(settings: Settings) -> Iterator[Adapters]:
    """What the gateway does."""
    database = db.connect(settings.database_url)
    yield Adapters(database, storage.make(settings.store_url))
    database.close()


@pytest.fixture
def endpoints(settings: Settings, tmp_path: Path) -> Iterator[list[TestClient]]:
    """Two processes on one database: one shares the host's folder of this test, the other is on a host of its own."""
    with ExitStack() as running:
        apps = [create_app(settings), create_app(settings.model_copy(update={"cache_dir": tmp_path / "another host"}))]
        clients = [running.enter_context(TestClient(app)) for app in apps]
        for client in clients:
            client.headers["Authorization"] = f"Bearer {KEY}"
        yield clients


def test_an_alias_means_its_new_version_from_the_move_on_everywhere(
    endpoints: list[TestClient], owner: Adapters, deliver: Deliver, sd_folder: Path
) -> None:
    for seed in (0, 1):
        deliver(random_adapter(sd_folder, seed))
    for number in (1, 2, 1):
        owner.put_alias(LOCAL, "red-things", "stable", AliasRequest(version=number))
        for endpoint in endpoints:
            assert drawn(endpoint, "red-things@stable") == (200, f"red-things@{number}")
    listed = [each["id"] for each in endpoints[0].get("/v1/models").json()["data"]]
    assert listed == ["tiny", "red-things@2", "red-things@1", "red-things@stable"]


def test_a_deleted_adapter_is_refused_at_once_and_soon_gone_from_memory_disk_and_slot_everywhere(
    endpoints: list[TestClient], owner: Adapters, deliver: Deliver, sd_folder: Path
) -> None:
    data = random_adapter(sd_folder, 0)
    deliver(data)
    file = adapter_file.read("red-things@1", hashlib.sha256(data).hexdigest(), data)
    for endpoint in endpoints:
        assert drawn(endpoint, "red-things") == (200, "red-things@1")
        assert in_a_slot(endpoint, file)
        assert images_of(endpoint).adapters.keys() == {("local", file.sha256)}
    owner.delete(LOCAL, "red-things@1")
    for endpoint in endpoints:
        assert drawn(endpoint, "red-things") == drawn(endpoint, "red-things@1") == (422, "unknown_model")
    for endpoint in endpoints:
        eventually(lambda each=endpoint: images_of(each).adapters.keys() == set())  # type: ignore[misc]
        eventually(lambda each=endpoint: not in_a_slot(each, file))  # type: ignore[misc]
        assert images_of(endpoint).adapters.figures().disk.bytes == 0
        assert drawn(endpoint, "tiny") == (200, "tiny")


def test_a_deleted_adapter_that_lies_in_a_slot_only_is_soon_gone_from_it(
    settings: Settings, owner: Adapters, deliver: Deliver, sd_folder: Path
) -> None:
    """Neither memory nor disk keeps anything here, but the last one loaded."""
    data = [random_adapter(sd_folder, seed) for seed in (0, 1)]
    with TestClient(create_app(settings.model_copy(update={"adapter_memory_mib": 0, "adapter_disk_mib": 0}))) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        for each in data:
            deliver(each)
            assert [drawn(client, name)[0] for name in ("red-things", "tiny")] == [200, 200]
            gc.collect()  # what was drawn holds its adapter
        files = [adapter_file.read("red-things", hashlib.sha256(each).hexdigest(), each) for each in data]
        eventually(lambda: images_of(client).adapters.keys() == {("local", files[1].sha256)})
        assert images_of(client).engine.slotted() == {each.sha256 for each in files}
        owner.delete(LOCAL, "red-things@1")
        eventually(lambda: images_of(client).engine.slotted() == {files[1].sha256})
        assert not in_a_slot(client, files[0])
