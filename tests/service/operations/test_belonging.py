"""Whose a store is: no sweep goes by another database's rows, nor by those of an old copy."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.adapters import db
from service.adapters.db import SqlDatabase
from service.domain.catalogue import Catalogue
from service.domain.ids import new_file_id, new_job_id
from service.domain.ports import Store
from service.operations.belonging import AGREE_SECONDS, MARK, Belonging, ForeignStore
from tests.service.operations.test_retention import Old


@pytest.fixture
def old(database: SqlDatabase, store: Store, catalogue: Catalogue, tmp_path: Path) -> Old:
    """On both databases and both stores; nobody has swept yet."""
    return Old(database, store, catalogue, tmp_path)


def mark(old: Old) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(b"".join(old.store.open(MARK)))
    return said


def refused(old: Old, why: str) -> None:
    """Neither the sweep nor anything that it would have done."""
    before = {key: old.store.head(key) for key in old.store.list("")}
    with pytest.raises(ForeignStore, match=why) as refusal:
        old.sweep(days=1000)
    assert "manage adopt" in refusal.value.message
    assert {key: old.store.head(key) for key in old.store.list("")} == before


class TestAStoreWithoutAMark:
    def test_that_is_empty_is_taken(self, old: Old) -> None:
        assert old.sweep(days=3) == 0
        old.put(f"files/{new_file_id()}")
        assert old.sweep(days=3) == 1

    def test_that_holds_what_a_row_names_is_taken(self, old: Old) -> None:
        old.trained()
        old.put(f"files/{new_file_id()}")
        assert old.sweep(days=3) == 1

    @pytest.mark.parametrize("make", [lambda: f"files/{new_file_id()}", lambda: f"jobs/{new_job_id()}/1/x.bin"])
    def test_that_holds_only_what_no_row_names_is_not(self, old: Old, make: Callable[[], str]) -> None:
        old.put(make())
        refused(old, "names nothing")


class TestAStoreWithAMark:
    def test_of_this_database_is_swept_again_and_again(self, old: Old) -> None:
        old.sweep(days=3)
        first = mark(old)
        old.put(f"files/{new_file_id()}")
        assert old.sweep(days=3) == 1
        assert mark(old)["id"] == first["id"]
        assert mark(old)["seen_at"] >= first["seen_at"]

    def test_of_another_database_is_not(self, old: Old) -> None:
        old.sweep(days=3)
        old.put(f"files/{new_file_id()}")
        old.sql("UPDATE installation SET id = 'another'")
        refused(old, "this database is installation another")

    def test_is_not_swept_by_a_database_that_is_new(self, old: Old) -> None:
        old.sweep(days=3)
        old.put(f"files/{new_file_id()}")
        old.sql("DELETE FROM installation")
        refused(old, "this database is new")

    @pytest.mark.parametrize(("behind", "fits"), [(0.9 * AGREE_SECONDS, True), (1.1 * AGREE_SECONDS, False)])
    def test_is_not_swept_by_an_old_copy_of_its_database(self, old: Old, behind: float, fits: bool) -> None:
        old.sweep(days=3)
        with old.database.read() as unit:
            seen = unit.upkeep.installation()
        assert seen is not None
        then = (seen.seen_at - timedelta(seconds=behind)).isoformat(sep=" ", timespec="milliseconds")[:23]
        old.sql("UPDATE installation SET seen_at = :then", then=then + ("+00" if old.on_postgresql else ""))
        old.put(f"files/{new_file_id()}")
        if fits:
            assert old.sweep(days=3) == 1
        else:
            refused(old, "is a copy")

    def test_that_cannot_be_read_is_not(self, old: Old) -> None:
        old.put(MARK, b"{")
        refused(old, "cannot be read")

    def test_is_swept_once_somebody_said_that_it_is_this_databases(self, old: Old) -> None:
        old.put(f"files/{new_file_id()}")
        old.put(MARK, b'{"id": "another", "seen_at": "2026-01-01T00:00:00+00:00"}')
        refused(old, "is new")
        Belonging(old.database, old.store).adopt()
        assert old.sweep(days=3) == 1

    def test_that_was_adopted_is_its_former_databases_no_longer(self, old: Old) -> None:
        old.sweep(days=3)
        before = mark(old)["id"]
        Belonging(old.database, old.store).adopt()
        old.sql("UPDATE installation SET id = :before", before=before)
        refused(old, "is of installation")


def test_the_accident_a_copy_of_last_week_on_the_store_of_today(
    sqlite_url: str, folder_store: Store, catalogue: Catalogue, tmp_path: Path
) -> None:
    """By the copy the job's attempt was lost before its adapter had a row; the newest database still names it."""
    path, copy = tmp_path / "strop.db", tmp_path / "copy.db"
    database = db.connect(sqlite_url)
    today = Old(database, folder_store, catalogue, tmp_path)
    today.sweep(days=0)
    job = today.run()
    with closing(sqlite3.connect(path)) as whole, closing(sqlite3.connect(copy)) as backup:
        whole.backup(backup)
    today.sweep(days=0)
    kept = today.kept(job, 10)
    restored = Old(db.connect(f"sqlite:///{copy}"), folder_store, catalogue, tmp_path)
    restored.sql("UPDATE installation SET seen_at = '2020-01-01 00:00:00.000'")  # the copy was made long ago
    restored.end_lease(job)
    restored.attempts.reap()
    refused(restored, "is a copy")
    assert today.store.head(kept) is not None
    today.is_whole()
    for each in (today, restored):
        each.database.close()
