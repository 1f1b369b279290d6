"""The gateway's process."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from strop.v1 import jobs_pb2, jobs_pb2_grpc

from service.adapters import db, storage
from service.domain.artifacts import Kind
from service.operations.attempts import Attempts
from tests.eventually import eventually
from tests.servers.processes import free_port
from tests.service.rest.calls import OFFERS
from tests.service.running import KEY

CATALOGUE = Path(__file__).parents[2] / "catalogue.toml"

MORE_THAN_SOCKETS_HOLD = 64 * 2**20

GPU = {"torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "safetensors"}


def test_holds_no_gpu_module_in_a_fresh_interpreter() -> None:
    """The gateway's image has none of them in it."""
    words = [sys.executable, "-c", "import service.app, service.manage, sys; print(*sys.modules)"]
    loaded = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert "fastapi" in loaded
    assert not GPU & set(loaded)


class Gateway:
    """`uvicorn --factory service.app:create_app`, as it is deployed."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.port = free_port()
        self.log = folder / "gateway.log"
        given = {name: value for name, value in os.environ.items() if not name.startswith("STROP_")}
        given |= {f"STROP_{name.upper()}": str(value) for name, value in settings.items()} | {"STROP_API_KEY": KEY}
        words = [sys.executable, "-m", "uvicorn", "--factory", "--port", str(self.port)]
        words += ["--timeout-graceful-shutdown", "1", "service.app:create_app"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(words, env=given, stdout=output, stderr=output)

    def places(self) -> dict[str, Any]:
        def ask() -> Any:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{self.port}/.well-known/strop").json()

        found: dict[str, Any] = eventually(ask, 60)
        return found


@pytest.fixture
def start(tmp_path: Path, sqlite_url: str) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []

    def one(**settings: object) -> Gateway:
        started.append(Gateway(tmp_path, state_dir=tmp_path, database_url=sqlite_url, catalogue=CATALOGUE, **settings))
        return started[-1]

    yield one
    for each in started:
        each.process.kill()
        each.process.wait()


def test_a_taken_grpc_port_stops_it_with_one_sentence(start: Callable[..., Gateway]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gateway = start(grpc_port=port)
        assert gateway.process.wait(60) != 0
    (said,) = gateway.log.read_text().splitlines()
    assert said.startswith(f"strop: cannot listen on 127.0.0.1:{port} (Address already in use); set STROP_GRPC_PORT")


def test_sigterm_ends_watches_and_then_the_process(start: Callable[..., Gateway]) -> None:
    gateway = start(grpc_port=0)
    metadata = (("authorization", f"Bearer {KEY}"),)
    with grpc.insecure_channel(f"127.0.0.1:{gateway.places()['grpc_port']}") as channel:
        jobs = jobs_pb2_grpc.JobsStub(channel)  # type: ignore[no-untyped-call]
        request = jobs_pb2.JobsCreateRequest(base_model="shapes", prompts=["a red circle"])
        request.reward.update({"type": "jpeg-compressibility"})
        job = jobs.Create(request, metadata=metadata).job
        watch = jobs.Watch(jobs_pb2.JobsWatchRequest(id=job.id), metadata=metadata, timeout=60)
        assert next(watch).job.id == job.id
        gateway.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert gateway.process.wait(10) == -signal.SIGTERM  # uvicorn ends by the signal that it was sent
    assert "Traceback" not in gateway.log.read_text()


def test_a_download_that_nobody_reads_holds_up_no_stop(
    start: Callable[..., Gateway], tmp_path: Path, sqlite_url: str
) -> None:
    gateway = start(grpc_port=0)
    grpc_port, url = gateway.places()["grpc_port"], f"http://127.0.0.1:{gateway.port}"
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"base_model": "shapes", "prompts": ["a red circle"], "reward": {"type": "jpeg-compressibility"}}
    job = httpx.post(f"{url}/jobs", json=body, headers=headers).json()["id"]
    database = db.connect(sqlite_url)
    attempts = Attempts(database, storage.make(f"file://{tmp_path / 'store'}"))
    claim = attempts.claim("w1", None, OFFERS)
    assert claim is not None
    (tmp_path / "adapter.safetensors").write_bytes(bytes(MORE_THAN_SOCKETS_HOLD))
    attempts.keep(
        claim.job.id, claim.job.fence, 1, Kind.ADAPTER, "adapter.safetensors", tmp_path / "adapter.safetensors"
    )
    database.close()
    link = f"{url}/jobs/{job}/artifacts/{claim.job.fence}/adapter.safetensors"
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, httpx.stream("GET", link, headers=headers) as slow:
        assert slow.status_code == 200
        watch = jobs_pb2_grpc.JobsStub(channel).Watch(  # type: ignore[no-untyped-call]
            jobs_pb2.JobsWatchRequest(id=job), metadata=tuple(headers.items()), timeout=60
        )
        assert next(watch).job.id == job
        gateway.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE, "it was told, and not cut off"
        assert gateway.process.wait(20) == -signal.SIGTERM
