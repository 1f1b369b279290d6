"""Which checkpoints stay while a job trains, and that nothing goes which a row names."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.artifacts import Artifact, Kind
from service.domain.errors import FenceLost, Unavailable
from service.domain.ids import Fence, JobId
from service.domain.jobs import Job
from service.domain.principals import LOCAL
from service.domain.recipes import CertificateRequest
from service.operations.thinning import superfluous
from tests.service.world import World


def checkpoint(step: int, fence: int = 1) -> Artifact:
    name = f"checkpoint-{step}"
    job = JobId("job_" + "0" * 26)
    return Artifact(
        job, Fence(fence), step, Kind.CHECKPOINT, name, f"jobs/{job}/{fence}/{name}", 1, "", datetime.now(UTC)
    )


def stays(kept: list[Artifact], keep_last: int, best_step: int | None = None) -> list[tuple[int, int]]:
    gone = superfluous(kept, keep_last, best_step)
    return [(artifact.step, artifact.fence) for artifact in kept if artifact not in gone]


class TestSuperfluous:
    def test_the_last_few_and_the_best_stay(self) -> None:
        kept = [checkpoint(step) for step in (10, 20, 30, 40, 50)]
        assert stays(kept, 2) == [(40, 1), (50, 1)]
        assert stays(kept, 2, best_step=20) == [(20, 1), (40, 1), (50, 1)]
        assert stays(kept, 9) == [(10, 1), (20, 1), (30, 1), (40, 1), (50, 1)]

    def test_two_steps_in_a_row_stay_whatever_is_asked(self) -> None:
        assert stays([checkpoint(step) for step in (10, 20, 30)], 1) == [(20, 1), (30, 1)]

    def test_of_a_step_that_was_made_twice_the_highest_fence_stays_and_counts_once(self) -> None:
        assert stays([checkpoint(10), checkpoint(20), checkpoint(20, 2), checkpoint(30, 2)], 3) == [
            (10, 1),
            (20, 2),
            (30, 2),
        ]

    def test_what_the_newest_attempt_passed_over_does_not_count_and_is_not_touched(self) -> None:
        """40 and 30 were damaged: attempt 2 began at 10, and what it makes now must not be thinned away for them."""
        assert stays([checkpoint(10), checkpoint(20, 2), checkpoint(30), checkpoint(40)], 2) == [
            (10, 1),
            (20, 2),
            (30, 1),
            (40, 1),
        ]

    @given(
        st.sets(st.tuples(st.integers(0, 12), st.integers(1, 4)), min_size=1),
        st.integers(2, 5),
        st.none() | st.integers(0, 12),
    )
    def test_the_newest_of_the_newest_attempt_stays_and_a_second_round_finds_nothing(
        self, made: set[tuple[int, int]], keep_last: int, best: int | None
    ) -> None:
        kept = [checkpoint(step, fence) for step, fence in sorted(made)]
        left = [each for each in kept if each not in superfluous(kept, keep_last, best)]
        newest = max(kept, key=lambda each: (each.fence, each.step))
        assert newest in left
        assert superfluous(left, keep_last, best) == []
        reached = {each.step for each in kept if each.step <= newest.step}
        assert len({each.step for each in left if each.step <= newest.step}) >= min(keep_last, len(reached))
        assert best not in reached or best in {each.step for each in left}


def train(world: World, steps: int) -> Job:
    job = world.run()
    for step in range(1, steps + 1):
        name, path = f"checkpoint-{step}.safetensors", world.file(b"state %d" % step)
        world.attempts.keep(job.id, job.fence, step, Kind.CHECKPOINT, name, path)
    return job


def rows(world: World, job: Job) -> list[Artifact]:
    with world.database.read() as unit:
        return unit.artifacts.of(job.tenant, job.id)


class TestThin:
    def test_removes_rows_and_objects_and_leaves_other_kinds_alone(self, world: World) -> None:
        job = train(world, 5)
        log = world.attempts.keep(job.id, job.fence, 1, Kind.LOG, "log.txt", world.file(b"log"))
        gone = world.attempts.thin(job.id, job.fence, keep_last=2, best_step=1)
        assert [artifact.step for artifact in gone] == [2, 3]
        left = rows(world, job)
        assert [artifact.step for artifact in left if artifact.kind is Kind.CHECKPOINT] == [1, 4, 5]
        assert log in left
        assert set(world.store.list("jobs/")) == {artifact.key for artifact in left}

    def test_of_a_job_that_is_lost_removes_nothing(self, world: World) -> None:
        job = train(world, 5)
        world.end_lease(job)
        world.claim("w2")
        with pytest.raises(FenceLost):
            world.attempts.thin(job.id, job.fence, keep_last=2, best_step=None)
        assert len(rows(world, job)) == len(list(world.store.list("jobs/"))) == 5

    def test_leaves_orphans_and_no_row_without_a_file_while_the_store_is_away(self, world: World) -> None:
        job, delete = train(world, 4), world.store.delete

        def away(key: str) -> None:
            raise Unavailable

        world.store.delete = away  # type: ignore[method-assign]
        world.attempts.thin(job.id, job.fence, keep_last=2, best_step=None)
        world.store.delete = delete  # type: ignore[method-assign]
        assert [artifact.step for artifact in rows(world, job)] == [3, 4]
        assert len(list(world.store.list("jobs/"))) == 4

    def test_another_job_s_checkpoints_stay(self, world: World, tmp_path: Path) -> None:
        other, job = train(world, 4), train(world, 4)
        world.attempts.thin(job.id, job.fence, keep_last=2, best_step=None)
        assert len(rows(world, other)) == 4


def test_the_two_checkpoints_of_a_certificate_that_is_yet_to_run_stay(world: World) -> None:
    job = world.run()
    for step in (10, 20, 30, 40, 50):
        world.attempts.keep(job.id, job.fence, step, Kind.CHECKPOINT, f"c-{step}", world.file(b"%d" % step))
    certificate = world.jobs.certify(LOCAL, job.id, CertificateRequest(from_step=10))[0]
    gone = world.attempts.thin(job.id, job.fence, keep_last=2, best_step=None)
    assert [each.step for each in gone] == [30]
    held = world.claim_of(certificate)
    assert held.checkpoint is not None
    assert held.goal is not None
    assert (held.checkpoint.step, held.goal.step) == (10, 20)
    world.attempts.certify(certificate.id, held.job.fence, found_sha256="0" * 64, training_nfe=1, training_fe=1)
    assert [each.step for each in world.attempts.thin(job.id, job.fence, keep_last=2, best_step=None)] == [10, 20]
