"""The real gateway's gRPC face; and that face alone over each database, with its notifier at hand."""

from collections.abc import Iterator
from contextlib import ExitStack

import anyio.from_thread
import grpc
import pytest

from service.adapters import db
from service.operations.watching import Watching
from service.rpc.face import Face, Operations
from tests.service.rest.calls import Gateway
from tests.service.rpc.calls import Rpc, Serving
from tests.service.running import KEY
from tests.service.world import World


@pytest.fixture
def rpc(gateway: Gateway) -> Iterator[Rpc]:
    """The gateway's other face, found as a client finds it."""
    port = gateway.get("/.well-known/strop", headers={"Authorization": ""}).json()["grpc_port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Rpc(channel)


@pytest.fixture
def serving(world: World) -> Iterator[Serving]:
    notifier = db.JobNotifier(world.database)
    face = Face(
        Operations(world.jobs, world.models, world.adapters, Watching(world.jobs, notifier)), KEY, "127.0.0.1", 0
    )
    with anyio.from_thread.start_blocking_portal() as portal:
        contexts = [portal.wrap_async_context_manager(each) for each in (face.serving(), notifier.running())]
        with ExitStack() as running:
            for context in contexts:
                running.enter_context(context)
            with grpc.insecure_channel(f"127.0.0.1:{face.port}") as channel:
                yield Serving(f"127.0.0.1:{face.port}", notifier, Rpc(channel), running.close)
