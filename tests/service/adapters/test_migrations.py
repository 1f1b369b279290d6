"""The migrations make exactly the tables that the code speaks of."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import IntegrityError

from service.adapters import db, storage
from service.adapters.db import SqlDatabase
from service.adapters.db.migrate import FOLDER
from service.adapters.db.schema import REVISION
from service.adapters.db.tables import metadata
from service.domain.catalogue import Catalogue
from service.domain.errors import Unavailable
from service.domain.ids import TenantId
from tests.service.world import World


def test_migrated_database_equals_the_tables(database: SqlDatabase) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        database.ping()


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
    database.ping()
    database.close()


class TestBesideAFleet:
    """On PostgreSQL, where others are at work meanwhile."""

    SHORT = db.Patience(lock_seconds=0.05, tries=3, pause_seconds=0.01)

    @pytest.fixture
    def busy(self, empty_postgresql_url: str) -> Iterator[SqlDatabase]:
        """At a revision after which one changes the table of jobs."""
        opened = db.connect(empty_postgresql_url)
        db.upgrade(opened, "0003")
        yield opened
        opened.close()

    def revision(self, database: SqlDatabase) -> str | None:
        with database.engine.connect() as connection:
            return connection.scalar(text("SELECT version_num FROM alembic_version"))

    def test_a_table_in_use_is_given_up_with_a_sentence_and_what_was_done_stays(
        self, empty_postgresql_url: str
    ) -> None:
        database = db.connect(empty_postgresql_url)
        db.upgrade(database, "0002")
        with database.engine.connect() as copying:
            copying.execute(text("LOCK TABLE artifacts IN SHARE UPDATE EXCLUSIVE MODE"))
            with pytest.raises(Unavailable, match="3 times: a copy"):
                db.upgrade(database, patience=self.SHORT)
            assert self.revision(database) == "0003"
        db.upgrade(database)
        database.ping()
        database.close()

    def test_it_goes_on_when_the_table_is_free(self, busy: SqlDatabase) -> None:
        copying = busy.engine.connect()
        copying.execute(text("LOCK TABLE jobs IN ACCESS SHARE MODE"))

        def free(record: logging.LogRecord) -> bool:
            copying.close()
            return True

        told = logging.getLogger("strop.migrations")
        told.addFilter(free)
        try:
            db.upgrade(busy, patience=self.SHORT)
        finally:
            told.removeFilter(free)
        busy.ping()

    def test_its_session_leaves_no_lock_and_no_setting_behind(self, busy: SqlDatabase) -> None:
        db.upgrade(busy)
        with busy.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0
            assert connection.scalar(text("SHOW lock_timeout")) == "10s"

    def test_coming_revisions_hold_no_table_for_long(self, empty_postgresql_url: str) -> None:
        """migrations/README.md, checked on the statements that they run; tables of their own they may make as they like."""
        database = db.connect(empty_postgresql_url)
        db.upgrade(database, "0007")
        there = set(inspect(database.engine).get_table_names())
        said: list[str] = []
        event.listen(database.engine, "before_cursor_execute", lambda *given: said.append(" ".join(given[2].split())))
        db.upgrade(database)
        database.close()
        assert any("CREATE TABLE installation" in statement for statement in said)
        assert [statement for statement in said if holds_long(statement, there)] == []


@pytest.mark.parametrize(
    ("statement", "long"),
    [
        ("CREATE INDEX ix ON jobs (id)", True),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix ON jobs (id)", False),
        ("CREATE INDEX ix ON new (id)", False),
        ("ALTER TABLE jobs ADD CONSTRAINT c CHECK (step > 0)", True),
        ("ALTER TABLE jobs ADD CONSTRAINT c CHECK (step > 0) NOT VALID", False),
        ("ALTER TABLE jobs ADD COLUMN brief JSON", False),
        ("ALTER TABLE jobs ALTER COLUMN step TYPE BIGINT", True),
        ("UPDATE jobs SET step = 1", True),
        ("UPDATE jobs SET step = 1 WHERE id = 'job_1'", False),
        ("UPDATE alembic_version SET version_num = '1'", False),
    ],
)
def test_the_check_of_coming_revisions_knows_what_holds_a_table(statement: str, long: bool) -> None:
    assert holds_long(statement, {"jobs"}) is long


def holds_long(statement: str, tables: set[str]) -> bool:
    """Whether it locks one of these tables for as long as the table is, or changes all of its rows."""
    named = re.search(r"(?:^UPDATE|^ALTER TABLE|\bON) (\w+)", statement)
    if named is None or named[1] not in tables - {"alembic_version"}:
        return False
    if statement.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX")):
        return "CONCURRENTLY" not in statement
    if statement.startswith("UPDATE"):
        return " WHERE id = " not in statement
    whole = "ADD CONSTRAINT" in statement and "NOT VALID" not in statement
    return statement.startswith("ALTER TABLE") and (whole or " TYPE " in statement or "SET NOT NULL" in statement)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_schema_that_is_older_than_the_code_is_refused_and_a_newer_one_is_not(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """While a fleet is brought up to date, processes of the version before go on serving."""
    url = f"sqlite:///{tmp_path}/new.db" if kind == "sqlite" else request.getfixturevalue("empty_postgresql_url")
    database = db.connect(url)
    for revision in (None, "0007"):
        if revision:
            db.upgrade(database, revision)
        for use in (database.read, database.write):
            with pytest.raises(Unavailable, match="manage migrate"), use():
                pass
        with pytest.raises(Unavailable, match="manage migrate"):
            database.ping()
    db.upgrade(database)
    database.ping()
    database.close()
    newer = db.connect(url)
    with newer.engine.execution_options(begin_immediate=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    newer.ping()
    with newer.write() as unit:
        assert unit.idempotency.forget_old() == 0
    newer.close()


def test_the_newest_revision_is_the_one_that_the_code_asks_for() -> None:
    names = sorted(path.name for path in (FOLDER / "versions").glob("*.py"))
    assert all(re.match(r"\d{4}_", name) for name in names)
    assert names[-1][:4] == REVISION


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_jobs_from_before_have_what_is_shown_of_them(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, catalogue: Catalogue
) -> None:
    """As a job that is posted today; and those whose lists are short, or whose recipe is none, have nothing."""
    url = f"sqlite:///{tmp_path}/old.db" if kind == "sqlite" else request.getfixturevalue("empty_postgresql_url")
    database = db.connect(url)
    db.upgrade(database)
    world = World(database, storage.make(f"file://{tmp_path}/store"), catalogue, tmp_path)
    many = [f"a red circle number {each} of very many" for each in range(200)]
    world.post(prompts=many)
    world.post(validation={"prompts": many})
    world.post(prompts=[f"{each} {'long' * 400}" for each in range(32)])
    world.sql("UPDATE jobs SET recipe = :strange WHERE id = :id", id=world.post().id, strange=f'"{"x" * 5000}"')
    posted = world.sql("SELECT id, brief FROM jobs ORDER BY id")
    assert [brief is None for _, brief in posted].count(True) == 2
    with database.engine.execution_options(begin_immediate=True).begin() as connection:
        connection.execute(text("UPDATE jobs SET brief = NULL"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0009'"))
    db.upgrade(database, "0010")

    def read(rows: Any) -> Any:
        return [(id, json.loads(brief) if isinstance(brief, str) else brief) for id, brief in rows]

    assert read(world.sql("SELECT id, brief FROM jobs ORDER BY id")) == read(posted)
    database.close()
