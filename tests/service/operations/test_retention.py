"""Retention: what is old goes, rows before objects, and nothing that a row or a manifest names goes with it."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.adapters.db import SqlDatabase
from service.domain.artifacts import Kind
from service.domain.catalogue import Catalogue
from service.domain.errors import Unavailable
from service.domain.ids import new_file_id, new_job_id
from service.domain.jobs import PER_STEP, Job, JobError, State
from service.domain.outside import Store
from service.domain.principals import LOCAL
from service.domain.recipes import CertificateRequest
from service.operations.belonging import Belonging
from service.operations.retention import DAY, Keep, Sweep, expire_checkpoints, for_a_while, trim_events
from tests.service.operations.life import all_rows, empty
from tests.service.world import EVERYTHING, World

KEEP = Keep(checkpoints=7 * DAY, events=90 * DAY, uploads=2 * DAY)


class Old(World):
    """Time passes by the days that are given."""

    def later(self, days: float) -> Callable[[], datetime]:
        """A clock that is so far ahead: what lies in the store is that old."""
        return lambda: datetime.now(UTC) + timedelta(days=days)

    def ended_before(self, job: Job, days: float) -> None:
        moment = (datetime.now(UTC) - timedelta(days=days)).isoformat(sep=" ", timespec="milliseconds")[:23]
        suffix = "+00" if self.on_postgresql else ""
        for table, column in (("jobs", "updated_at"), ("artifacts", "created_at")):
            key = "id" if table == "jobs" else "job_id"
            self.sql(f"UPDATE {table} SET {column} = :then WHERE {key} = :id", then=moment + suffix, id=job.id)
        ended = "untrimmed_since IS NOT NULL AND id = :id"
        self.sql(f"UPDATE jobs SET untrimmed_since = :then WHERE {ended}", then=moment + suffix, id=job.id)

    def kept(self, job: Job, step: int, kind: Kind = Kind.CHECKPOINT) -> str:
        name = f"{kind}-{step}"
        return self.attempts.keep(job.id, job.fence, step, kind, name, self.file(f"{job.id} {name}".encode())).key

    def trained(self, **changes: Any) -> Job:
        """Succeeded, with two checkpoints, a sample and the adapter."""
        job = self.run(**changes)
        for step in (10, 20):
            self.attempts.record(job.id, job.fence, step, "job.step", {})
            self.kept(job, step)
        self.kept(job, 20, Kind.SAMPLE)
        self.kept(job, 20, Kind.ADAPTER)
        return self.attempts.succeed(job.id, job.fence, training_nfe=1, training_fe=1, code_version="t")

    def failed(self) -> Job:
        job = self.run()
        self.kept(job, 10)
        return self.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="x", retry=False)

    def expire(self) -> int:
        return for_a_while(lambda: expire_checkpoints(self.database, self.store, KEEP))

    def trim(self) -> int:
        return for_a_while(lambda: trim_events(self.database, KEEP))

    def sweep(self, days: float) -> int:
        return Sweep(self.database, self.store, KEEP, self.later(days)).turn(60)

    def taken(self) -> "Old":
        """Its store is marked as its own, as it is from an installation's first sweep on."""
        Belonging(self.database, self.store).adopt()
        return self

    def put(self, key: str, content: bytes = b"lost") -> str:
        self.store.put_file(key, self.file(content))
        return key

    def is_whole(self) -> None:
        """Every row's object is there with its digest, and every file of every manifest. Raises AssertionError."""
        rows = all_rows(self)
        for table in ("artifacts", "files"):
            for row in rows[table].values():
                content = b"".join(self.store.open(row["key"]))
                assert hashlib.sha256(content).hexdigest() == row["sha256"], row["key"]
                if row["kind"] == Kind.MANIFEST:
                    for line in json.loads(content)["files"]:
                        assert self.store.head(line["key"]) == line["bytes"], f"{row['key']} lists {line['key']}"
        for version in rows["adapter_versions"].values():
            assert self.store.head(version["manifest_key"]) is not None


@pytest.fixture
def old(database: SqlDatabase, store: Store, catalogue: Catalogue, tmp_path: Any) -> Old:
    """On both databases and both stores."""
    return Old(database, store, catalogue, tmp_path).taken()


class TestCheckpoints:
    def test_of_a_job_that_ended_long_ago_go_and_all_else_stays(self, old: Old) -> None:
        done, failed = old.trained(), old.failed()
        for job in (done, failed):
            old.ended_before(job, 8)
        assert old.expire() == 3
        assert {artifact.kind for artifact in old.artifacts.list(LOCAL, done.id)} == set(Kind) - {
            Kind.CHECKPOINT,
            Kind.LOG,
            Kind.RECEIPT,
            Kind.EXPORT,
        }
        assert old.artifacts.list(LOCAL, failed.id) == []
        assert [key for key in old.store.list("jobs/") if "checkpoint" in key] == []
        assert (old.get(done).state, old.get(done).adapter) == (State.SUCCEEDED, done.adapter)
        old.is_whole()

    def test_of_a_job_that_ended_lately_or_has_not_ended_stay(self, old: Old) -> None:
        lately, running = old.trained(), old.run()
        old.ended_before(lately, 6)
        old.kept(running, 10)
        old.ended_before(running, 100)
        assert old.expire() == 0
        old.attempts.stopped(running.id, running.fence, "handed_back")
        old.ended_before(running, 100)
        assert old.expire() == 0
        assert len(old.claim_of(running).checkpoints) == 1

    def test_of_a_job_that_is_tried_again_stay(self, old: Old) -> None:
        job = old.failed()
        old.ended_before(job, 8)
        old.jobs.retry(LOCAL, job.id)
        assert old.expire() == 0

    def test_wait_for_a_certificate_that_replays_them(self, old: Old) -> None:
        job = old.trained()
        certificate = old.jobs.certify(LOCAL, job.id, CertificateRequest())[0]
        old.ended_before(job, 8)
        assert old.expire() == 0
        held = old.claim_of(certificate)
        assert held.checkpoint is not None
        old.attempts.certify(certificate.id, held.job.fence, found_sha256="0" * 64, training_nfe=1, training_fe=1)
        old.ended_before(job, 8)
        assert old.expire() == 2

    def test_a_store_that_is_away_or_a_crash_leaves_orphans_which_a_later_sweep_removes(self, old: Old) -> None:
        job = old.trained()
        old.ended_before(job, 8)
        delete, old.store.delete = old.store.delete, _away  # type: ignore[method-assign]
        assert old.expire() == 2
        old.store.delete = delete  # type: ignore[method-assign]
        left = [key for key in old.store.list("jobs/") if "checkpoint" in key]
        assert len(left) == 2
        old.is_whole()
        assert old.sweep(days=3) == 2
        assert [key for key in old.store.list("jobs/") if "checkpoint" in key] == []
        old.is_whole()


def _away(key: str) -> None:
    raise Unavailable


class TestEvents:
    def test_of_each_step_go_and_changes_of_state_keep_their_numbers(self, old: Old) -> None:
        job = old.trained()
        before = old.jobs.events(LOCAL, job.id).items
        old.ended_before(job, 91)
        assert old.trim() == 1
        after = old.jobs.events(LOCAL, job.id).items
        assert after == tuple(event for event in before if event.type not in PER_STEP)
        assert (after[0], after[-1]) == (before[0], before[-1])
        assert len(after) < len(before) == old.get(job).event_count
        assert old.trim() == 0

    def test_of_jobs_that_ended_lately_run_or_wait_stay(self, old: Old) -> None:
        lately, running = old.trained(), old.run()
        old.attempts.record(running.id, running.fence, 1, "job.step", {})
        old.ended_before(lately, 89)
        old.ended_before(running, 1000)
        assert old.trim() == 0

    def test_of_a_retried_job_are_trimmed_after_its_second_end(self, old: Old) -> None:
        job = old.failed()
        old.ended_before(job, 91)
        assert old.trim() == 1
        old.jobs.retry(LOCAL, job.id)
        again = old.claim_of(job).job
        old.attempts.record(again.id, again.fence, 1, "job.step", {})
        old.attempts.fail(again.id, again.fence, JobError("x", "x"), cause="x", retry=False)
        assert old.trim() == 0
        old.ended_before(job, 91)
        assert old.trim() == 1
        assert "job.step" not in old.types(job)


class TestOrphans:
    def test_go_when_they_are_old_and_no_attempt_can_write_their_row_any_more(self, old: Old) -> None:
        ended, requeued = old.trained(), old.run()
        old.attempts.stopped(requeued.id, requeued.fence, "handed_back")
        lost = {
            old.put(f"jobs/{ended.id}/1/x.bin"),
            old.put(f"jobs/{requeued.id}/1/x.bin"),
            old.put(f"files/{new_file_id()}"),
        }
        assert old.sweep(days=1.9) == 0
        before = set(old.store.list(""))
        assert old.sweep(days=2.1) == len(lost)
        assert set(old.store.list("")) == before - lost
        old.is_whole()

    def test_of_an_attempt_that_may_still_write_stay_however_old(self, old: Old) -> None:
        running = old.run()
        under_way = old.put(f"jobs/{running.id}/{running.fence}/x.bin")
        assert old.sweep(days=1000) == 0
        assert old.store.head(under_way) is not None
        old.attempts.stopped(running.id, running.fence, "handed_back")
        assert old.sweep(days=1000) == 1

    def test_of_a_fence_that_is_yet_to_come_stay(self, old: Old) -> None:
        """A database that was brought back from a copy: its jobs will reach these fences again."""
        job = old.run()
        old.put(f"jobs/{job.id}/2/x.bin")
        assert old.sweep(days=1000) == 0

    def test_of_a_job_that_the_database_does_not_know_stay_and_are_told_once(
        self, old: Old, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No job's row is ever deleted: another database has it, or one that may come back."""
        keys = [old.put(f"jobs/{new_job_id()}/1/x.bin") for _ in range(2)]
        sweep = Sweep(old.database, old.store, KEEP, old.later(1000))
        assert [sweep.turn(60), sweep.turn(60)] == [0, 0]
        assert [old.store.head(key) for key in keys] == [4, 4]
        assert [each.getMessage()[:22] for each in caplog.records] == ["2 objects under jobs/ "]

    @pytest.mark.parametrize("key", ["other/x", "jobs/x", "jobs/job_1/1/x", "files/x/y", "job/x", "jobs.txt"])
    def test_what_is_not_ours_stays(self, old: Old, key: str) -> None:
        old.put(key)
        assert old.sweep(days=1000) == 0

    def test_a_sweep_goes_on_where_its_last_turn_ended_and_begins_again_after_its_end(self, old: Old) -> None:
        for _ in range(5):
            old.put(f"files/{new_file_id()}")
        sweep = Sweep(old.database, old.store, KEEP, old.later(3))
        assert sweep.turn(seconds=0) == 0
        assert sweep.turn() == 5
        old.put(f"files/{new_file_id()}")
        assert sweep.turn() == 1

    def test_a_store_that_is_away_is_told_and_the_next_turn_begins_again(self, old: Old) -> None:
        old.put(f"files/{new_file_id()}")
        sweep = Sweep(old.database, old.store, KEEP, old.later(3))
        ages = old.store.ages

        def away(prefix: str) -> Any:
            raise Unavailable
            yield

        old.store.ages = away  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            sweep.turn()
        old.store.ages = ages  # type: ignore[method-assign]
        assert sweep.turn() == 1


def test_an_upload_is_never_an_orphan_within_a_day() -> None:
    with pytest.raises(ValueError, match="a day"):
        Keep(uploads=DAY - 1)


ENDS = ("trained", "failed", "running", "queued", "paused", "cancelled")
CHORES = ("expire", "trim", "sweep", "crash", "age")


@settings(
    max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)  # fmt: skip
@given(
    lives=st.lists(st.tuples(st.sampled_from(ENDS), st.integers(0, 120)), min_size=1, max_size=4),
    chores=st.lists(st.tuples(st.sampled_from(CHORES), st.integers(0, 200)), min_size=1, max_size=6),
)
def check_any_order(old: Old, lives: list[tuple[str, int]], chores: list[tuple[str, int]]) -> None:
    empty(old)
    old.taken()
    jobs = [_live(old, how, days) for how, days in lives]
    for job in jobs:
        old.put(f"jobs/{job.id}/{max(job.fence, 1)}/orphan.bin")
    for chore, days in chores:
        match chore:
            case "age":
                for job in jobs:
                    old.ended_before(job, days)
            case "sweep":
                old.sweep(days)
            case "crash":  # after the rows' commit, before the objects
                delete, old.store.delete = old.store.delete, _away  # type: ignore[method-assign]
                old.expire()
                old.store.delete = delete  # type: ignore[method-assign]
            case _:
                getattr(old, chore)()
        old.is_whole()
    for job in jobs:  # what is resumed, retried or still runs finds what its rows promise
        if (now := old.get(job)).state in (State.PAUSED, State.FAILED):
            (old.jobs.resume if now.state is State.PAUSED else old.jobs.retry)(LOCAL, job.id)
    while claim := old.attempts.claim("w", None, EVERYTHING):
        for checkpoint in claim.checkpoints:
            old.attempts.read(checkpoint, old.folder / "back")


def _live(old: Old, how: str, days: int) -> Job:
    if how == "trained":
        job = old.trained()
    elif how == "failed":
        job = old.failed()
    elif how == "queued":
        job = old.post(priority=-10)
    else:
        job = old.run(priority=10)
        old.kept(job, 10)
        if how != "running":
            ask = old.jobs.pause if how == "paused" else old.jobs.cancel
            ask(LOCAL, job.id)
            job = old.attempts.stopped(job.id, job.fence, "handed_back")
    old.ended_before(job, days)
    return job


def test_whatever_is_done_in_whatever_order_every_row_and_manifest_keeps_its_files(old: Old) -> None:
    check_any_order(old)
