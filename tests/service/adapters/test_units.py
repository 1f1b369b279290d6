"""Transactions: whole or not at all, one writer at a time on SQLite, and "away" said as such."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from service.adapters import db
from service.adapters.db import SqlDatabase
from service.domain.errors import Unavailable
from tests.service.world import World, run_at_once


def test_a_unit_that_raises_writes_nothing(world: World) -> None:
    with pytest.raises(RuntimeError), world.database.write() as unit:
        assert unit.idempotency.take("local", "k", "d", "s", 60)  # type: ignore[arg-type]
        raise RuntimeError
    with world.database.read() as unit:
        assert unit.idempotency.find("local", "k") is None  # type: ignore[arg-type]


def test_reads_then_writes_lose_no_update(database: SqlDatabase) -> None:
    """What plain BEGIN loses on SQLite; PostgreSQL holds the row by the statement itself."""
    with database.write() as unit:
        unit.idempotency.take("local", "k", "0", "s", 60)  # type: ignore[arg-type]
    lock = "" if database.engine.dialect.name == "sqlite" else " FOR UPDATE"

    def count_up() -> None:
        for _ in range(10):
            with database.write() as unit:
                connection = unit.idempotency._connection
                digest = connection.execute(text(f"SELECT digest FROM idempotency{lock}")).scalar_one()
                connection.execute(text("UPDATE idempotency SET digest = :next"), {"next": str(int(digest) + 1)})

    assert [answer for answer in run_at_once([count_up] * 8) if answer] == []
    with database.read() as unit:
        assert unit.idempotency.find("local", "k") == ("80", "s")  # type: ignore[arg-type]


def test_a_reader_sees_one_moment(world: World) -> None:
    job = world.post()
    with world.database.read() as unit:
        before = unit.jobs.get(job.tenant, job.id)
        world.claim_of(job)
        assert unit.jobs.get(job.tenant, job.id) == before
        assert len(unit.events.after(job.tenant, job.id, 0, 100)) == 1


def test_postgresql_refuses_writes_in_a_read_unit(postgresql_url: str) -> None:
    database = db.connect(postgresql_url)
    with pytest.raises(Exception, match="read-only"), database.read() as unit:
        unit.jobs._connection.execute(text("DELETE FROM files"))
    database.close()


def test_sqlite_runs_in_wal_mode_with_a_busy_timeout(sqlite_url: str) -> None:
    database = db.connect(sqlite_url)
    with database.read() as unit:
        pragmas = ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        found = [unit.jobs._connection.execute(text(f"PRAGMA {pragma}")).scalar_one() for pragma in pragmas]
    assert found == ["wal", 10_000, 1, 2]
    database.close()


def test_times_are_utc_and_aware(world: World) -> None:
    job = world.claim_of(world.post()).job
    for moment in (job.created_at, job.updated_at, job.attempts[0].started_at):
        assert moment.utcoffset() is not None
        assert moment.utcoffset().total_seconds() == 0  # type: ignore[union-attr]


class TestAway:
    @pytest.fixture
    def gone(self) -> Iterator[SqlDatabase]:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            database = db.connect(f"postgresql://strop@127.0.0.1:{taken.getsockname()[1]}/strop")
            yield database
            database.close()

    def test_a_server_that_is_gone(self, gone: SqlDatabase) -> None:
        for use in (gone.read, gone.write):
            with pytest.raises(Unavailable), use():
                pass
        with pytest.raises(Unavailable):
            gone.ping()

    def test_a_connection_that_is_cut(self, postgresql_url: str) -> None:
        database = db.connect(postgresql_url)
        cut = "SELECT pg_terminate_backend(pg_backend_pid())"
        with pytest.raises(Unavailable), database.write() as unit:
            unit.jobs._connection.execute(text(cut))
        database.ping()
        database.close()

    def test_no_connection_left(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("service.adapters.db.engine.CONNECT_SECONDS", 0.05)
        small = db.connect(database_url, connections=1)
        with small.read(), pytest.raises(Unavailable, match="no free connection"), small.read():
            pass
        small.close()

    def test_a_file_that_is_locked_for_too_long(self, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("service.adapters.db.engine.BUSY_SECONDS", 0.05)
        one, other = db.connect(sqlite_url), db.connect(sqlite_url)
        with one.write(), pytest.raises(Unavailable, match="busy"), other.write():
            pass
        one.close()
        other.close()

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_a_row_that_is_held_for_too_long(
        self, world: World, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.adapters.db.engine.BUSY_SECONDS", 0.05)
        job, hasty = world.post(), db.connect(database_url)
        with world.database.write() as unit:
            unit.jobs.lock(job.tenant, job.id)
            with pytest.raises(Unavailable, match="busy"), hasty.write() as other:
                other.jobs.lock(job.tenant, job.id)
        hasty.close()

    def test_a_fault_of_ours_is_not_the_databases(self, database: SqlDatabase) -> None:
        with pytest.raises((OperationalError, ProgrammingError)), database.read() as unit:
            unit.jobs._connection.execute(text("SELECT nothing FROM nowhere"))

    def test_a_fresh_sqlite_makes_its_folder(self, tmp_path: Path) -> None:
        database = db.connect(f"sqlite:///{tmp_path}/new/folder/strop.db")
        with pytest.raises(Unavailable, match="manage migrate"):
            database.ping()
        database.close()
