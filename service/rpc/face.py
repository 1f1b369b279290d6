"""The gRPC server, in the gateway's event loop and on a port of its own. No TLS: the proxy that ends it for REST does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from strop.v1 import jobs_pb2, jobs_pb2_grpc, models_pb2, models_pb2_grpc, rewards_pb2, rewards_pb2_grpc

from service.operations.adapters import Adapters
from service.operations.jobs import Jobs
from service.operations.models import Models
from service.operations.watching import Watching
from service.rpc import jobs, models
from service.rpc.guard import Guard
from service.wire.guard import MAX_BODY

SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in ((jobs_pb2, "Jobs"), (models_pb2, "Models"), (rewards_pb2, "Rewards"))
)
GRACE_SECONDS = 5.0
"""What running calls get when the gateway stops."""
MAX_CALLS = jobs.MAX_WATCHES + 500
OPTIONS = (
    ("grpc.so_reuseport", 0),  # else a second gateway would quietly share the port
    ("grpc.max_receive_message_length", 2 * MAX_BODY),  # the guard refuses above MAX_BODY, and can say why
    ("grpc.keepalive_time_ms", 30_000),  # a client that went without a word is noticed within 40 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class Operations:
    """Everything that this face may ask."""

    jobs: Jobs
    models: Models
    adapters: Adapters
    watching: Watching


class Face:
    """`port`: the one really bound, while `serving`; before, the one asked for."""

    def __init__(self, operations: Operations, key: str | None, host: str, port: int) -> None:
        self._operations, self._key = operations, key
        self._host, self._port = host, port
        self.port = port

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Until the block ends; then no new call is taken, and running ones get GRACE_SECONDS."""
        server = grpc.aio.server(interceptors=[Guard(self._key)], options=OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        jobs_pb2_grpc.add_JobsServicer_to_server(jobs.Jobs(self._operations.jobs, self._operations.watching), server)  # type: ignore[no-untyped-call]
        models_pb2_grpc.add_ModelsServicer_to_server(
            models.Models(self._operations.models, self._operations.adapters), server
        )  # type: ignore[no-untyped-call]
        rewards_pb2_grpc.add_RewardsServicer_to_server(models.Rewards(), server)  # type: ignore[no-untyped-call]
        said = health.aio.HealthServicer()
        add_HealthServicer_to_server(said, server)
        for service in SERVICES:
            await said.set(service, health_pb2.HealthCheckResponse.SERVING)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.port = server.add_insecure_port(f"{host}:{self._port}")
        await server.start()
        try:
            yield
        finally:
            await said.enter_graceful_shutdown()
            await server.stop(GRACE_SECONDS)
