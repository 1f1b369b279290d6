"""Strop's own processes, by the commands that `make up` uses, over whichever database, broker and store they are given."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.adapters import keys
from service.embedded.programs import programs
from service.settings import Settings
from tests.eventually import eventually
from tests.servers.processes import free_port

ROOT = Path(__file__).parents[1]
KEY = "a-key-of-sixteen"


@dataclass(frozen=True)
class Stack:
    """`gateway` and `inference` are HTTP clients that carry the key; `grpc` is the address of the gateway's other port."""

    gateway: httpx.Client
    inference: httpx.Client
    grpc: str
    processes: Mapping[str, subprocess.Popen[bytes]]


@contextlib.contextmanager
def running(folder: Path, environment: Mapping[str, str]) -> Iterator[Stack]:
    """Gateway, steward, worker, inference, until the block ends. The database must be migrated.

    Raises AssertionError with the end of its log where a process does not come up.
    """
    ports = {name: str(free_port()) for name in ("STROP_PORT", "STROP_INFERENCE_PORT", "STROP_GRPC_PORT")}
    given = {name: value for name, value in os.environ.items() if not name.startswith("STROP_")}
    given |= {"STROP_STATE_DIR": str(folder), "STROP_API_KEY": KEY, "STROP_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    keys.generate(folder / "signing-key.pem")
    given |= {"STROP_SIGNING_KEY_FILE": str(folder / "signing-key.pem")} | ports | environment
    chosen = Settings(
        state_dir=folder, port=int(ports["STROP_PORT"]), inference_port=int(ports["STROP_INFERENCE_PORT"])
    )
    with contextlib.ExitStack() as stack:
        started = {
            program.name: stack.enter_context(
                _process(program.command, given | program.environment, folder / f"{program.name}.log")
            )
            for program in programs(chosen, folder / "unused.sock")
            if program.name != "broker"
        }
        clients = {
            name: stack.enter_context(
                httpx.Client(
                    base_url=f"http://127.0.0.1:{ports[port]}", headers={"Authorization": f"Bearer {KEY}"}, timeout=60
                )
            )
            for name, port in (("gateway", "STROP_PORT"), ("inference", "STROP_INFERENCE_PORT"))
        }
        for name, client in clients.items():
            eventually(lambda name=name, client=client: _ready(client, started[name], folder / f"{name}.log"), 60)
        yield Stack(**clients, grpc=f"127.0.0.1:{ports['STROP_GRPC_PORT']}", processes=started)


def _ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text(errors="replace")[-2000:]
    with contextlib.suppress(httpx.TransportError):
        return client.get("/readyz").status_code == httpx.codes.OK
    return False


@contextlib.contextmanager
def _process(command: tuple[str, ...], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environment), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
