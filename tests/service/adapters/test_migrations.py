"""The migrations make exactly the tables that the code speaks of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from service.adapters import db
from service.adapters.db import SqlDatabase
from service.adapters.db.tables import metadata
from service.domain.ids import TenantId


def test_migrated_database_equals_the_tables(database: SqlDatabase) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert not db.pending(database)


def test_checks_and_partial_indexes_are_the_same(database: SqlDatabase) -> None:
    looked = inspect(database.engine)
    assert {check["name"] for check in looked.get_check_constraints("jobs")} == {
        "ck_jobs_queued_has_not_before", "ck_jobs_owned_has_lease", "ck_jobs_succeeded_has_result",
    }  # fmt: skip
    where = f"{database.engine.dialect.name}_where"
    partial = {
        index["name"] for index in looked.get_indexes("jobs") if index.get("dialect_options", {}).get(where) is not None
    }
    assert partial == {"ix_jobs_queued", "ix_jobs_owned", "ix_jobs_untrimmed", "ix_jobs_children"}


OLD_JOB = (
    "INSERT INTO jobs (id, tenant_id, state, priority, recipe, adapter_name, adapter_version, created_at, updated_at, version, "
    "fence, failures, event_count, step, steps, training_nfe, training_fe) VALUES ('job_1', 'local', 'succeeded', 0, '{}', "
    "'red', 1, '2026-01-01', '2026-01-01', 1, 1, 0, 0, 1, 1, 1, 1)"
)
OLD_EVENT = (
    "INSERT INTO events (job_id, number, tenant_id, fence, type, data, created_at) "
    "VALUES ('job_1', 1, 'local', 1, 'job.queued', '{}', '2026-01-01')"
)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_old_jobs_and_their_events_come_through_the_change_of_a_check(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """SQLite makes the table anew for it; what points to its rows must still do so."""
    url = f"sqlite:///{tmp_path}/old.db" if kind == "sqlite" else request.getfixturevalue("empty_postgresql_url")
    database = db.connect(url)
    db.upgrade(database, "0002")
    with database.engine.execution_options(begin_immediate=True).begin() as connection:
        for statement in (OLD_JOB, OLD_EVENT):
            connection.execute(text(statement))
    db.upgrade(database, "0003")
    with database.engine.execution_options(begin_immediate=True).begin() as connection:
        moved = connection.execute(text("SELECT id, adapter_version, kind, stop_reason, training_seconds FROM jobs"))
        assert moved.all() == [("job_1", 1, "sharpening", "completed", 0)]
        assert connection.scalar(text("SELECT count(*) FROM events JOIN jobs ON jobs.id = job_id")) == 1
        if kind == "sqlite":
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    for unfit in (
        "UPDATE jobs SET adapter_version = NULL",  # a succeeded job has a result
        "INSERT INTO events SELECT 'job_2', 1, tenant_id, fence, step, type, data, created_at FROM events",
    ):
        with (
            pytest.raises(IntegrityError),
            database.engine.execution_options(begin_immediate=True).begin() as connection,
        ):
            connection.execute(text(unfit))
    database.close()


OLD_VERSION = (
    "INSERT INTO artifacts (job_id, fence, name, tenant_id, step, kind, key, bytes, sha256, created_at) "
    "VALUES ('job_1', 1, 'a', 'local', 1, 'adapter', 'jobs/job_1/1/a', 1, '', '2026-01-01')",
    "INSERT INTO adapters (tenant_id, name, last_version) VALUES ('local', 'red', 1)",
    "INSERT INTO adapter_versions (tenant_id, name, version, base_model, job_id, file_fence, file_name, manifest_key, "
    "manifest_sha256, created_at) VALUES ('local', 'red', 1, 'shapes', 'job_1', 1, 'a', 'jobs/job_1/1/m', '', '2026-01-01')",
)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_versions_from_before_receipts_are_to_get_theirs(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/old.db" if kind == "sqlite" else request.getfixturevalue("empty_postgresql_url")
    database = db.connect(url)
    db.upgrade(database, "0002")
    with database.engine.execution_options(begin_immediate=True).begin() as connection:
        for statement in (OLD_JOB, *OLD_VERSION):
            connection.execute(text(statement))
    db.upgrade(database)
    with database.write() as unit:
        asked = unit.receipts.ask(TenantId("local"), 60)
    assert asked is not None
    assert (asked.reference, asked.tries) == ("red@1", 1)
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_tries_from_before_they_were_counted_apart_still_count(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/old.db" if kind == "sqlite" else request.getfixturevalue("empty_postgresql_url")
    database = db.connect(url)
    for revision, statements in (("0002", (OLD_JOB, *OLD_VERSION)), ("0006", ("UPDATE receipts SET tries = 3",))):
        db.upgrade(database, revision)
        with database.engine.execution_options(begin_immediate=True).begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    db.upgrade(database)
    with database.write() as unit:
        asked = unit.receipts.ask(TenantId("local"), 60)
    assert asked is not None
    assert (asked.tries, asked.spent) == (4, 4)
    database.close()


def test_every_table_has_a_tenant() -> None:
    assert all("tenant_id" in table.c for table in metadata.tables.values())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_processes_may_migrate_at_once(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    if kind == "postgresql":
        url = request.getfixturevalue("empty_postgresql_url")
    words = [sys.executable, "-m", "service.manage", "migrate"]
    environment = {**os.environ, "STROP_DATABASE_URL": url}
    started = [subprocess.Popen(words, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate()[1] for process in started] == [b""] * 2
    database = db.connect(url)
    assert not db.pending(database)
    database.close()
