"""The real gateway with both faces over SQLite; and the gRPC face alone over each database, with its notifier at hand."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio.from_thread
import grpc
import pytest
from starlette.testclient import TestClient

from service.adapters import db, storage
from service.app import create_app
from service.operations.attempts import Attempts
from service.operations.watching import Watching
from service.rpc.face import Face, Operations
from service.settings import Settings
from tests.service.rest.calls import Gateway
from tests.service.rpc.calls import Rpc, Serving
from tests.service.running import KEY, settings_of
from tests.service.world import World


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return settings_of(sqlite_url, tmp_path, monkeypatch)


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield Gateway(client)


@pytest.fixture
def attempts(settings: Settings) -> Iterator[Attempts]:
    database = db.connect(settings.database_url)
    yield Attempts(database, storage.make(settings.store_url))
    database.close()


@pytest.fixture
def rpc(gateway: Gateway) -> Iterator[Rpc]:
    """The gateway's other face, found as a client finds it."""
    port = gateway.get("/.well-known/strop", headers={"Authorization": ""}).json()["grpc_port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Rpc(channel)


@pytest.fixture
def serving(world: World) -> Iterator[Serving]:
    notifier = db.JobNotifier(world.database)
    face = Face(Operations(world.jobs, world.models, Watching(world.jobs, notifier)), KEY, "127.0.0.1", 0)
    with anyio.from_thread.start_blocking_portal() as portal:
        contexts = [portal.wrap_async_context_manager(each) for each in (face.serving(), notifier.running())]
        with ExitStack() as running:
            for context in contexts:
                running.enter_context(context)
            with grpc.insecure_channel(f"127.0.0.1:{face.port}") as channel:
                yield Serving(f"127.0.0.1:{face.port}", notifier, Rpc(channel), running.close)
