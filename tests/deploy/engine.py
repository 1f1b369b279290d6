"""A Docker engine of one's own for a while: Debian's packages, its own socket and folders, nothing of the machine's network changed.

Needs root on Debian. `install` gets what is missing; `engine` starts dockerd and ends it by its process id.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.processes import running

PACKAGES = {
    "dockerd": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "docker-init": "tini",
}
DOCKER = "/usr/bin/docker"
"""Debian's client: with DOCKER_BUILDKIT=1 it builds by itself; newer ones want a plugin for that."""


def install() -> None:
    """Packages that are missing. Ends with a sentence where this cannot be done."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit("strop: make test-compose starts a Docker engine of its own, for which it must be root on Debian")
    missing = [package for binary, package in PACKAGES.items() if shutil.which(binary) is None]
    if missing or not Path(DOCKER).exists():
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", "docker.io", *missing]):
            subprocess.run(["apt-get", "--quiet", "--quiet", *words], env=quiet, check=True)


@dataclass(frozen=True)
class Engine:
    """`docker(…)` and `compose(…)` return what they print; CalledProcessError where they fail."""

    socket: Path
    environment: dict[str, str] = field(default_factory=dict)

    def docker(self, *words: str, **options: object) -> str:
        return self.run([DOCKER, *words], **options)

    def run(self, words: Sequence[str], **options: object) -> str:
        done = subprocess.run(
            words,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            **options,
        )  # type: ignore[call-overload]
        return str(done.stdout)


@contextmanager
def engine(scratch: Path) -> Iterator[Engine]:
    """All of it lies below `scratch`. The compose plugin is the wheel's; no configuration of the user's is read."""
    home = scratch / "engine"
    plugins = home / "client" / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    plugin = plugins / "docker-compose"
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(Path(sys.executable).parent / "docker-compose")
    socket = home / "docker.sock"
    words = [
        shutil.which("dockerd") or "dockerd", "--host", f"unix://{socket}", "--data-root", home / "data",
        "--exec-root", home / "exec", "--pidfile", home / "docker.pid",
        "--iptables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none",
    ]  # fmt: skip
    environment = os.environ | {
        "DOCKER_HOST": f"unix://{socket}",
        "DOCKER_CONFIG": str(home / "client"),
        "DOCKER_BUILDKIT": "1",
        "BUILDKIT_PROGRESS": "plain",
    }
    made = Engine(socket, environment)

    def ready() -> bool:
        return subprocess.run([DOCKER, "info"], env=environment, capture_output=True, check=False).returncode == 0

    with running(
        words, ready=ready, log=home / "dockerd.log", end=signal.SIGTERM, remedy="its log says why", seconds=60
    ):
        yield made
