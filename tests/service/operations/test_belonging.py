"""Whose a store is: nothing goes by another database's rows, nor by those of a copy, old or new."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.adapters import db
from service.adapters.db import SqlDatabase
from service.domain.catalogue import Catalogue
from service.domain.ids import new_file_id, new_job_id
from service.domain.outside import Store
from service.domain.principals import LOCAL
from service.operations.belonging import AGREE_SECONDS, MARK, Belonging, ForeignStore
from service.operations.steward import Chore, chores
from tests.service.operations.test_retention import KEEP, Old


@pytest.fixture
def old(database: SqlDatabase, store: Store, catalogue: Catalogue, tmp_path: Path) -> Old:
    """On both databases and both stores; nobody has swept yet."""
    return Old(database, store, catalogue, tmp_path)


def mark(old: Old) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(b"".join(old.store.open(MARK)))
    return said


class Steward:
    """A process of its own, with what it may remove from the store, at a time so many days from now."""

    def __init__(self, old: Old, days: float = 3) -> None:
        every = chores(old.database, old.store, old.attempts, KEEP, old.later(days), lease_seconds=30)
        self.removing: list[Chore] = [chore for chore in every if chore.name.startswith("remove")]
        self._old = old

    def sweep(self) -> int:
        return sum(chore.work() for chore in self.removing if "no row names" in chore.name)

    def refused(self, why: str) -> None:
        """Each chore, and nothing that it would have done: every object is there, and every row of one."""
        before = self._kept()
        for chore in self.removing:
            with pytest.raises(ForeignStore, match=why) as refusal:
                chore.work()
            assert "manage adopt" in refusal.value.message
        assert self._kept() == before

    def _kept(self) -> tuple[Any, Any]:
        store = {key: self._old.store.head(key) for key in self._old.store.list("") if key != MARK}
        return store, self._old.sql("SELECT key FROM artifacts ORDER BY key")


def refused(old: Old, why: str) -> None:
    Steward(old, days=1000).refused(why)


class TestAStoreWithoutAMark:
    def test_that_is_empty_is_taken(self, old: Old) -> None:
        assert Steward(old).sweep() == 0
        old.put(f"files/{new_file_id()}")
        assert Steward(old).sweep() == 1

    def test_that_holds_what_a_row_names_is_taken(self, old: Old) -> None:
        old.trained()
        old.put(f"files/{new_file_id()}")
        assert Steward(old).sweep() == 1

    @pytest.mark.parametrize("make", [lambda: f"files/{new_file_id()}", lambda: f"jobs/{new_job_id()}/1/x.bin"])
    def test_that_holds_only_what_no_row_names_is_not(self, old: Old, make: Callable[[], str]) -> None:
        old.put(make())
        refused(old, "names nothing")


class TestAStoreWithAMark:
    def test_of_this_database_is_swept_again_and_again(self, old: Old) -> None:
        Steward(old).sweep()
        first = mark(old)
        old.put(f"files/{new_file_id()}")
        assert Steward(old).sweep() == 1
        assert mark(old)["id"] == first["id"]
        assert mark(old)["seen_at"] >= first["seen_at"]

    def test_of_another_database_is_not(self, old: Old) -> None:
        Steward(old).sweep()
        old.put(f"files/{new_file_id()}")
        old.sql("UPDATE installation SET id = 'another'")
        refused(old, "this database is installation another")

    def test_is_not_swept_by_a_database_that_is_new(self, old: Old) -> None:
        Steward(old).sweep()
        old.put(f"files/{new_file_id()}")
        old.sql("DELETE FROM installation")
        refused(old, "this database is new")

    @pytest.mark.parametrize(("behind", "fits"), [(0.9 * AGREE_SECONDS, True), (1.1 * AGREE_SECONDS, False)])
    def test_is_not_swept_by_an_old_copy_of_its_database(self, old: Old, behind: float, fits: bool) -> None:
        Steward(old).sweep()
        with old.database.read() as unit:
            seen = unit.upkeep.installation()
        assert seen is not None
        then = (seen.seen_at - timedelta(seconds=behind)).isoformat(sep=" ", timespec="milliseconds")[:23]
        old.sql("UPDATE installation SET seen_at = :then", then=then + ("+00" if old.on_postgresql else ""))
        old.put(f"files/{new_file_id()}")
        if fits:
            assert Steward(old).sweep() == 1
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
        assert Steward(old).sweep() == 1

    def test_that_was_adopted_is_its_former_databases_no_longer(self, old: Old) -> None:
        Steward(old).sweep()
        before = mark(old)["id"]
        Belonging(old.database, old.store).adopt()
        old.sql("UPDATE installation SET id = :before", before=before)
        refused(old, "is of installation")


def test_the_accident_a_copy_of_last_week_on_the_store_of_today(
    sqlite_url: str, folder_store: Store, catalogue: Catalogue, tmp_path: Path
) -> None:
    """By the copy the job's attempt was lost before its adapter had a row; the newest database still names it. By the copy
    another job ended long ago, and its checkpoints may go; by the newest it has been tried again, and needs them."""
    path, copy = tmp_path / "strop.db", tmp_path / "copy.db"
    database = db.connect(sqlite_url)
    today = Old(database, folder_store, catalogue, tmp_path)
    Steward(today, days=0).sweep()
    again = today.failed()
    today.ended_before(again, 8)
    job = today.run()
    with closing(sqlite3.connect(path)) as whole, closing(sqlite3.connect(copy)) as backup:
        whole.backup(backup)
    Steward(today, days=0).sweep()
    kept = today.kept(job, 10)
    today.jobs.retry(LOCAL, again.id)
    restored = Old(db.connect(f"sqlite:///{copy}"), folder_store, catalogue, tmp_path)
    restored.sql("UPDATE installation SET seen_at = '2020-01-01 00:00:00.000'")  # the copy was made long ago
    restored.end_lease(job)
    restored.attempts.reap()
    refused(restored, "is a copy")
    assert today.store.head(kept) is not None
    today.is_whole()
    for each in (today, restored):
        each.database.close()


class TestTwoDatabasesWithOneId:
    """A copy of a few minutes ago, with the store's address still in its settings: neither is ever an hour behind."""

    @pytest.fixture
    def copy(self, old: Old, catalogue: Catalogue, tmp_path: Path) -> Iterator[Old]:
        database = db.connect(f"sqlite:///{tmp_path}/copy.db")
        db.upgrade(database)
        yield Old(database, old.store, catalogue, tmp_path)
        database.close()

    def dump(self, old: Old, copy: Old) -> None:
        with old.database.read() as unit:
            seen = unit.upkeep.installation()
        assert seen is not None
        then = seen.seen_at.isoformat(sep=" ", timespec="milliseconds")[:23]
        copy.sql("INSERT INTO installation VALUES ('local', :id, :then)", id=seen.id, then=then)

    def test_are_noticed_within_a_turn_of_each_and_both_are_refused(self, old: Old, copy: Old) -> None:
        production, staging = Steward(old, days=1000), Steward(copy, days=1000)
        production.sweep()
        self.dump(old, copy)
        assert staging.sweep() == 0  # nobody can know it yet, and nothing is old by now
        old.put(f"files/{new_file_id()}")
        for each in (production, staging, Steward(old, days=1000), Steward(copy, days=1000)):
            each.refused("two databases with one id")

    def test_are_noticed_by_the_copy_where_its_turn_comes_first(self, old: Old, copy: Old) -> None:
        production, staging = Steward(old, days=1000), Steward(copy, days=1000)
        production.sweep()
        self.dump(old, copy)
        staging.sweep()
        production = Steward(old, days=1000)  # which has just been started again
        production.sweep()
        staging.refused("two databases with one id")
        production.refused("two databases with one id")

    @pytest.mark.parametrize("ahead", [timedelta(milliseconds=1), timedelta(days=1)])
    def test_are_noticed_whatever_the_time_is_by_the_copys_clock(self, old: Old, copy: Old, ahead: timedelta) -> None:
        """However late it is: a row grows, so the copy's is behind its own at first, and ahead of the other's then."""
        production, staging = Steward(old, days=1000), Steward(copy, days=1000)
        production.sweep()
        self.dump(old, copy)
        first = datetime.fromisoformat(mark(old)["seen_at"])
        then = (first + ahead).isoformat(sep=" ", timespec="milliseconds")[:23]
        copy.sql("UPDATE installation SET seen_at = :then", then=then)
        old.put(MARK, json.dumps({"id": mark(old)["id"], "seen_at": f"{then}+00:00"}).encode())
        production.refused("two databases with one id")
        staging.refused("two databases with one id")

    def test_are_told_apart_by_whoever_says_whose_store_it_is(self, old: Old, copy: Old) -> None:
        production, staging = Steward(old), Steward(copy)
        production.sweep()
        self.dump(old, copy)
        staging.sweep()
        production.refused("two databases with one id")
        Belonging(old.database, old.store).adopt()
        old.put(f"files/{new_file_id()}")
        assert production.sweep() == 1
        staging.refused("is of installation")


class TestOneDatabase:
    def test_with_two_stewards_is_refused_to_neither(self, old: Old) -> None:
        one, other = Steward(old), Steward(old)
        for each in (one, other, one, one, other, other, one):
            each.sweep()

    def test_whose_clock_was_put_back_is_not_refused(self, old: Old) -> None:
        steward = Steward(old)
        steward.sweep()
        then = old.later(30)().isoformat(sep=" ", timespec="milliseconds")[:23]  # by the clock as it was
        old.sql("UPDATE installation SET seen_at = :then", then=then + ("+00" if old.on_postgresql else ""))
        seen = []
        for _ in range(3):
            steward.sweep()
            seen.append(mark(old)["seen_at"])
        assert seen == sorted(set(seen))
        assert seen[0] > then

    def test_that_was_brought_back_as_it_was_minutes_ago_beneath_its_steward_is_not_refused(self, old: Old) -> None:
        steward = Steward(old)
        steward.sweep()
        then = old.later(-0.01)().isoformat(sep=" ", timespec="milliseconds")[:23]
        old.sql("UPDATE installation SET seen_at = :then", then=then + ("+00" if old.on_postgresql else ""))
        old.put(f"files/{new_file_id()}")
        assert steward.sweep() == 1
