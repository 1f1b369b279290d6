"""Idempotency-Key: one key and body, one job, however often and however fast it is sent."""

import pytest

from service.domain.errors import InvalidRequest
from service.domain.principals import LOCAL
from service.operations.once import keyed
from service.operations.steward import forget_keys
from tests.service.world import OTHER, World, request, run_at_once


def submit(world: World, key: str = "k", *, body: bytes = b"", principal=LOCAL, **changes):  # type: ignore[no-untyped-def]
    posted = request(**changes)
    return world.jobs.submit(principal, posted, keyed(key, "/jobs", body or posted.model_dump_json().encode()))


def test_the_same_body_gives_the_same_job(world: World) -> None:
    (first, fresh), (again, replayed) = submit(world), submit(world)
    assert (first.id, fresh, replayed) == (again.id, False, True)
    assert world.bell.rings == 1


def test_another_body_is_refused(world: World) -> None:
    submit(world)
    for changes in ({"steps": 7}, {"body": b"{}"}):
        with pytest.raises(InvalidRequest) as refused:
            submit(world, **changes)
        assert refused.value.code == "idempotency_key_reused"


def test_a_replay_shows_the_job_as_it_is_now_even_if_its_base_left_the_catalogue(world: World) -> None:
    job, _ = submit(world)
    world.jobs.cancel(LOCAL, job.id)
    world.catalogue.bases.clear()
    assert submit(world)[0].state == "cancelled"


def test_keys_belong_to_a_tenant(world: World) -> None:
    assert submit(world)[0].id != submit(world, principal=OTHER)[0].id


def test_fifty_at_once_give_one_job(world: World) -> None:
    answers = run_at_once([lambda: submit(world)] * 50)
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    assert len({job.id for job, _ in answers}) == 1
    assert sum(not replayed for _, replayed in answers) == 1
    assert len(world.jobs.list(LOCAL).items) == 1


def test_a_key_is_free_again_after_a_day(world: World) -> None:
    first, _ = submit(world)
    world.sql("UPDATE idempotency SET expires_at = '2020-01-01 00:00:00.000'")
    second, replayed = submit(world, steps=9)
    assert (second.id != first.id, replayed) == (True, False)
    assert submit(world, steps=9)[1]


def test_the_steward_forgets_old_keys_only(world: World) -> None:
    submit(world, "old")
    world.sql("UPDATE idempotency SET expires_at = '2020-01-01 00:00:00.000'")
    submit(world, "new")
    assert forget_keys(world.database) == 1
    assert submit(world, "new")[1]


@pytest.mark.parametrize("key", ["", "x" * 256, "ümlaut", "two words"])
def test_a_key_that_is_none_is_refused(world: World, key: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        submit(world, key)
    assert refused.value.code == "invalid_idempotency_key"
