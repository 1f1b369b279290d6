"""What a queued job says of why nobody takes it: true of the workers that looked for work lately, and gone when it is not."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from service.domain.jobs import Job, JobError, State
from service.domain.offers import MEMORY, Offers, model_word, needs
from service.domain.principals import LOCAL
from service.domain.waiting import ABSENT_SECONDS, wait_reason
from service.operations import waiting
from service.operations.waiting import FORGET_SECONDS, Explaining
from tests.service.world import EVERYTHING, OTHER, World

SMALL = replace(EVERYTHING, memory_gib=8.0)
BIG = replace(EVERYTHING, memory_gib=80.0, labels=frozenset({"big"}))


@pytest.fixture
def steward(world: World) -> Explaining:
    return Explaining(world.database, due_seconds=0)


def said(world: World, job: Job) -> str:
    return world.get(job).wait_reason or ""


def age_worker(world: World, worker: str, seconds: float) -> None:
    ago = f"now() - interval '{seconds} seconds'"
    if not world.on_postgresql:
        ago = f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{seconds} seconds')"
    world.sql(f"UPDATE workers SET seen_at = {ago} WHERE name = :name", name=worker)


class TestTheSentence:
    def test_where_nobody_works_asks_for_a_worker(self, world: World, steward: Explaining) -> None:
        job = world.post()
        assert steward.turn() == 1
        assert (
            said(world, job)
            == "no worker has looked for work in the last 10 minutes: start one, or see the log of those that run"
        )

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"needs": {"labels": ["eu"]}}, ["none carries the label 'eu' (STROP_WORKER_LABELS)"]),
            ({"needs": {"memory_gib": 24}}, ["it needs 24 GiB of device memory", "the largest has 8"]),
            ({"needs": {"memory_gib": 24, "labels": ["eu"]}}, ["24 GiB", "label 'eu'"]),
        ],
    )
    def test_names_all_that_nobody_offers(
        self, world: World, steward: Explaining, changes: Any, words: list[str]
    ) -> None:
        world.attempts.show("w", SMALL)
        job = world.post(**changes)
        steward.turn()
        for each in words:
            assert each in said(world, job)

    def test_names_families_rewards_and_models_as_people_know_them(self, world: World, steward: Explaining) -> None:
        clip = model_word(world.catalogue.rewards["shapes-clip"])
        world.attempts.show("w", Offers(frozenset(), frozenset(), models=frozenset({clip})))
        job = world.post()
        steward.turn()
        for each in ("family 'sd'", "reward 'clip'", "base model 'shapes'"):
            assert each in said(world, job)
        assert "shapes-clip" not in said(world, job)

    def test_where_each_need_is_met_by_another_worker_says_that(self, world: World, steward: Explaining) -> None:
        world.attempts.show("w1", replace(EVERYTHING, memory_gib=80.0))
        world.attempts.show("w2", replace(EVERYTHING, labels=frozenset({"eu"})))
        job = world.post(needs={"memory_gib": 24, "labels": ["eu"]})
        steward.turn()
        assert said(world, job).startswith("some worker meets each of its needs, but none meets all of them: ")
        assert "24 GiB of device memory" in said(world, job)

    def test_is_of_every_tenants_jobs(self, world: World, steward: Explaining) -> None:
        jobs = [world.post(LOCAL), world.post(OTHER)]
        assert steward.turn() == 2
        assert all(said(world, job) for job in jobs)


class TestIsNotSaid:
    def test_of_a_job_that_a_worker_could_take(self, world: World, steward: Explaining) -> None:
        world.attempts.show("w1", SMALL)
        world.attempts.show("w2", BIG)
        job = world.post(needs={"labels": ["big"]})
        assert steward.turn() == 0
        assert not said(world, job)

    def test_of_a_job_that_is_due_for_a_moment(self, world: World) -> None:
        job = world.post()
        assert Explaining(world.database).turn() == 0
        assert not said(world, job)

    def test_once_a_worker_that_fits_has_come(self, world: World, steward: Explaining) -> None:
        world.attempts.show("w1", SMALL)
        job = world.post(needs={"labels": ["big"]})
        steward.turn()
        before = world.get(job)
        world.attempts.show("w2", BIG)
        assert steward.turn() == 1
        after = world.get(job)
        assert (bool(before.wait_reason), after.wait_reason) == (True, None)
        assert after.version > before.version, "who polls with the ETag sees it"

    def test_from_the_claim_on(self, world: World, steward: Explaining) -> None:
        job = world.post()
        steward.turn()
        assert not world.claim_of(job).job.wait_reason

    def test_of_a_job_that_is_queued_again_until_it_is_looked_at(self, world: World, steward: Explaining) -> None:
        job = world.post()
        steward.turn()
        run = world.claim_of(job).job
        world.attempts.fail(job.id, run.fence, JobError("crash", "it fell"), cause="child_crashed", retry=True)
        assert world.get(job).state is State.QUEUED
        assert not said(world, job)

    def test_once_somebody_cancels_it(self, world: World, steward: Explaining) -> None:
        job = world.post()
        steward.turn()
        assert world.jobs.cancel(LOCAL, job.id).wait_reason is None


class TestWorkers:
    def test_one_that_has_not_looked_for_long_is_gone(self, world: World, steward: Explaining) -> None:
        world.attempts.show("w", EVERYTHING)
        job = world.post()
        age_worker(world, "w", ABSENT_SECONDS - 60)
        assert steward.turn() == 0
        age_worker(world, "w", ABSENT_SECONDS + 60)
        assert steward.turn() == 1
        assert said(world, job)

    def test_one_that_has_a_job_is_there_however_long_it_takes(self, world: World, steward: Explaining) -> None:
        world.attempts.show("w1", EVERYTHING)
        running = world.run()
        age_worker(world, "w1", 2 * FORGET_SECONDS)
        behind = world.post()
        assert steward.turn() == 0
        assert not said(world, behind)
        world.attempts.stopped(running.id, running.fence, "handed_back")
        assert steward.turn() == 2, "the one that was handed back waits too"

    def test_what_counts_is_what_it_said_last(self, world: World, steward: Explaining) -> None:
        world.attempts.show("w", BIG)
        world.attempts.show("w", SMALL)
        job = world.post(needs={"labels": ["big"]})
        steward.turn()
        assert said(world, job)

    def test_those_of_long_ago_are_forgotten(self, world: World, steward: Explaining) -> None:
        world.attempts.show("old", EVERYTHING)
        world.attempts.show("new", EVERYTHING)
        age_worker(world, "old", FORGET_SECONDS + 60)
        steward.turn()
        assert world.sql("SELECT name FROM workers") == [("new",)]


class TestTheClaim:
    """The sentence and the claim go by the same words: here for many needs and workers at once."""

    OFFERS = (
        Offers(frozenset(), frozenset()),
        EVERYTHING,
        SMALL,
        BIG,
        replace(EVERYTHING, labels=frozenset({"sd", "memory_gib"}), memory_gib=24.0),
        Offers(frozenset({"sd"}), frozenset({"scene"}), memory_gib=24.0, models=frozenset()),
    )
    NEEDS: tuple[dict[str, Any], ...] = (
        {}, {"labels": ["big"]}, {"labels": ["sd"]}, {"memory_gib": 8}, {"memory_gib": 8.1}, {"memory_gib": 24, "labels": ["big"]},
    )  # fmt: skip

    def cases(self) -> Iterator[dict[str, Any]]:
        for reward in ({"type": "clip", "model": "shapes-clip"}, {"type": "scene"}):
            yield from ({"reward": reward, "needs": each} for each in self.NEEDS)

    @pytest.mark.parametrize("number", range(len(OFFERS)))
    def test_takes_exactly_the_jobs_that_would_say_nothing(self, world: World, number: int) -> None:
        offers = self.OFFERS[number]
        posted = [world.post(**case) for case in self.cases()]
        silent = {job.id for job in posted if wait_reason(needs(job.recipe), [offers.told()]) is None}
        with world.database.read() as unit:
            listed = {job.id for job in unit.jobs.waiting([offers.told()], 0, None, 100)}
        claimed = set()
        while claim := world.attempts.claim("w", None, offers):
            claimed.add(claim.job.id)
        assert claimed == silent == {job.id for job in posted} - listed

    def test_needs_are_read_as_they_were_written(self, world: World) -> None:
        job = world.post(needs={"memory_gib": 24, "labels": ["eu"]})
        with world.database.read() as unit:
            [found] = unit.jobs.waiting([], 0, None, 100)
        assert found.needs == needs(job.recipe)
        assert found.needs[MEMORY] == 24


def test_more_than_a_portion_is_told_in_one_turn(
    world: World, steward: Explaining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PORTION", 2)
    jobs = [world.post() for _ in range(5)]
    assert steward.turn() == 5
    assert all(said(world, job) for job in jobs)


def test_what_a_turn_has_no_time_for_is_the_next_ones(
    world: World, steward: Explaining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PORTION", 2)
    monkeypatch.setattr(waiting, "TURN_SECONDS", -1.0)
    for _ in range(5):
        world.post()
    assert [steward.turn() for _ in range(3)] == [2, 2, 1]


def test_a_turn_that_changes_nothing_writes_no_job(world: World, steward: Explaining) -> None:
    job = world.post()
    steward.turn()
    version = world.get(job).version
    assert steward.turn() == 0
    assert world.get(job).version == version
