"""Real parts for every test: databases (SQLite and PostgreSQL), stores (a folder and S3), a broker. Each starts when it is
first asked for, once a run; one that cannot start fails the test with the remedy, and never skips it."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings

from service.adapters import db, storage
from service.adapters.db import SqlDatabase
from service.adapters.db.tables import metadata
from service.domain.ids import new_job_id
from service.domain.outside import Store
from tests.servers import postgresql, seaweed, valkey

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("strop", deadline=None)  # of a machine's pace nothing is claimed
settings.load_profile("strop")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of the cluster; its database `strop` is migrated."""
    with postgresql.server() as url:
        _create(url, "strop")
        migrated = db.connect(f"{url}/strop", connections=1)
        db.upgrade(migrated)
        migrated.close()
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "strop.db"
    migrated = db.connect(f"sqlite:///{path}", connections=1)
    db.upgrade(migrated)
    migrated.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database of its own for this test."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "strop.db"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """One database for all, emptied for each (a new one would take 100 ms); who is still in it is put out."""
    url = f"{postgresql_server}/strop"
    tables = ", ".join(metadata.tables)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute(f"TRUNCATE {tables}")
    return url


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> str:
    """A database that no migration has seen."""
    name = new_job_id()
    _create(postgresql_server, name)
    return f"{postgresql_server}/{name}"


@pytest.fixture
def database(database_url: str) -> Iterator[SqlDatabase]:
    opened = db.connect(database_url, connections=32)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[seaweed.S3]:
    with seaweed.server() as s3:
        yield s3


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    return storage.make(f"file://{tmp_path}/store")


@pytest.fixture
def s3_store(s3_server: seaweed.S3, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A prefix of its own in the test server's bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return storage.make(f"s3://{s3_server.bucket}/{new_job_id()}", s3_server.endpoint)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    made: Store = request.getfixturevalue(f"{request.param}_store")
    return made


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    with valkey.server() as url:
        yield url


def _create(url: str, name: str) -> None:
    with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with valkey.tcp_server() as url:
        yield url
