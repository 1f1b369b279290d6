"""The migrations make exactly the tables that the code speaks of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from service.adapters import db
from service.adapters.db import SqlDatabase
from service.adapters.db.tables import metadata


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
