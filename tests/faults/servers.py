"""The servers that all rows share, and what each row gets of them: a database, a broker and a store of its own."""

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from service.adapters import db
from service.domain.ids import new_job_id
from tests.faults.processes import ROOT
from tests.servers import postgresql, seaweed, valkey

TEMPLATE = "strop_faults"


@dataclass
class Servers:
    """`postgresql`: URL of a cluster that has the migrated database TEMPLATE; `redis`: URL without a number's end."""

    postgresql: str
    redis: str
    s3: seaweed.S3
    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def credentials(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.s3.key, "AWS_SECRET_ACCESS_KEY": self.s3.secret, "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip

    def postgresql_database(self) -> str:
        return new_database(self.postgresql)

    def redis_database(self) -> str:
        with self._lock:
            return f"{self.redis.rpartition('/')[0]}/{next(self._numbers) % 16}"

    def sqlite_database(self, folder: Path) -> str:
        path = folder / "strop.db"
        with self._lock:
            template = self.folder / "template.db"
            if not template.exists():
                migrate(f"sqlite:///{template}")
            path.write_bytes(template.read_bytes())
        return f"sqlite:///{path}"

    def tiny_base(self) -> Path:
        """The tests' smallest Stable Diffusion, made by another process: this one shall not load torch."""
        with self._lock:
            base = self.folder / "tiny"
            if not base.exists():
                code = "import sys; from pathlib import Path; from tests.worker import tiny; tiny.pipeline_folder(Path(sys.argv[1]))"
                subprocess.run(
                    [sys.executable, "-c", code, base], cwd=ROOT, check=True, capture_output=True, timeout=120
                )
            return base


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Start all three."""
    with ExitStack() as stack:
        found = Servers(
            stack.enter_context(postgresql.server()),
            stack.enter_context(valkey.tcp_server()),
            stack.enter_context(seaweed.server()),
            folder,
        )
        make_template(found.postgresql)
        before = dict(os.environ)
        os.environ.update(found.credentials)  # where boto3 looks for them
        try:
            yield found
        finally:
            for name in found.credentials:
                os.environ.pop(name)
            os.environ.update(before)


def make_template(cluster: str) -> None:
    """The migrated database that each row's is copied from."""
    with psycopg.connect(f"{cluster}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate(f"{cluster}/{TEMPLATE}")


def new_database(cluster: str) -> str:
    name = new_job_id()
    with psycopg.connect(f"{cluster}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE}')
    return f"{cluster}/{name}"


def migrate(url: str) -> None:
    database = db.connect(url, connections=1)
    db.upgrade(database)
    database.close()
