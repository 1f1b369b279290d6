"""Deleting adapters: rows in one transaction, then the files; the job stays; what needs the adapter stands in the way."""

import random
from typing import Any

import pytest

from service.domain.adapters import AliasRequest
from service.domain.artifacts import OF_THE_JOB, Kind
from service.domain.errors import Conflict, InvalidRequest, NotFound, Unavailable
from service.domain.jobs import Job, State
from service.domain.outside import Store
from service.domain.principals import LOCAL, Principal
from service.domain.recipes import CertificateRequest
from service.operations.adapters import Adapters
from service.operations.once import keyed
from service.operations.retention import DAY, Keep, Sweep
from tests.service.operations.life import all_rows
from tests.service.operations.test_retention import Old
from tests.service.world import OTHER, World, run_at_once


def delete(world: World, name: str, principal: Principal = LOCAL, **more: Any) -> bool:
    return world.adapters.delete(principal, name, **more)


def point(world: World, version: int, alias: str = "stable") -> None:
    world.adapters.put_alias(LOCAL, "red", alias, AliasRequest(version=version))


def code_of(call: Any) -> str:
    with pytest.raises((Conflict, InvalidRequest, NotFound)) as refused:
        call()
    return str(refused.value.code)


def keys(store: Store, job: Job) -> set[str]:
    return set(store.list(f"jobs/{job.id}/"))


def full(world: World, **changes: Any) -> Job:
    """A job with a file of every kind that it can have before its end, and then a version of the adapter `red`."""
    job = world.run(adapter_name="red", priority=10, **changes)
    for kind in (Kind.CHECKPOINT, Kind.SAMPLE, Kind.LOG, Kind.ADAPTER, Kind.EXPORT):
        world.attempts.keep(job.id, job.fence, 1, kind, f"{kind}-1", world.file(kind.encode() + job.id.encode()))
    return world.attempts.succeed(job.id, job.fence, training_nfe=8, training_fe=9.5, code_version="1")


class TestOneVersion:
    def test_goes_with_its_files_and_the_others_stay(self, world: World) -> None:
        first, second = full(world), full(world)
        before = keys(world.store, second)
        delete(world, "red@1")
        assert world.models.show(LOCAL, "red").versions == (2,)
        assert code_of(lambda: world.models.resolve(LOCAL, "red@1")) == "not_found"
        left = {each.kind: each.key for each in world.artifacts.list(LOCAL, first.id)}
        assert left.keys() == OF_THE_JOB
        assert keys(world.store, first) == set(left.values())
        assert keys(world.store, second) == before

    def test_leaves_its_job_which_says_so(self, world: World) -> None:
        job = world.deliver()
        delete(world, "red@1")
        now = world.get(job)
        assert (now.state, now.adapter, now.recipe) == (State.SUCCEEDED, "red@1", job.recipe)
        last = world.jobs.events(LOCAL, job.id).items[-1]
        assert (last.type, last.data) == ("job.adapter_deleted", {"adapter": "red@1", "by": "local"})

    def test_leaves_its_number_to_nobody(self, world: World) -> None:
        world.deliver()
        delete(world, "red")
        assert world.deliver().adapter == "red@2"

    def test_twice_is_not_there(self, world: World) -> None:
        world.deliver()
        delete(world, "red@1")
        for name in ("red@1", "red", "red@stable"):
            assert code_of(lambda name=name: delete(world, name)) in ("not_found", "names_an_alias")

    def test_twice_under_one_key_is_no_error(self, world: World) -> None:
        for _ in range(2):
            world.deliver()
        request = keyed("k", "/models/red@1", method="DELETE")
        assert [delete(world, "red@1", keyed=request) for _ in range(2)] == [False, True]
        assert world.models.show(LOCAL, "red").versions == (2,)

    @pytest.mark.parametrize("name", ["blue", "red@2", "red@0", "shapes", "../red", "red@1@1", "\0", "x" * 200])
    def test_that_is_not_there_is_told(self, world: World, name: str) -> None:
        world.deliver()
        rows = all_rows(world)
        assert code_of(lambda: delete(world, name)) == "not_found"
        assert all_rows(world) == rows

    def test_of_another_tenant_is_not_there(self, world: World) -> None:
        world.deliver()
        assert code_of(lambda: delete(world, "red@1", OTHER)) == "not_found"
        assert world.models.show(LOCAL, "red").versions == (1,)

    def test_of_a_digest_that_another_version_has_leaves_that_one(self, world: World) -> None:
        for _ in range(2):
            world.deliver(content=b"the same")
        sha256 = world.models.resolve(LOCAL, "red").file.sha256  # type: ignore[union-attr]
        delete(world, "red@1")
        assert living(world, sha256) == {("local", sha256)}
        delete(world, "red@2")
        assert living(world, sha256) == set()


def living(world: World, *digests: str) -> set[tuple[str, str]]:
    with world.database.read() as unit:
        return set(unit.adapters.living(digests))


class TestAllVersions:
    def test_go_at_once(self, world: World) -> None:
        jobs = [full(world) for _ in range(3)]
        delete(world, "red")
        assert code_of(lambda: world.models.resolve(LOCAL, "red")) == "not_found"
        assert all(keys(world.store, job) == {each.key for each in world.artifacts.list(LOCAL, job.id)} for job in jobs)

    def test_or_none_where_one_is_in_the_way(self, world: World) -> None:
        for _ in range(3):
            world.deliver()
        point(world, 2)
        rows = all_rows(world)
        assert code_of(lambda: delete(world, "red")) == "adapter_has_alias"
        assert all_rows(world) == rows


class TestAnAlias:
    def test_keeps_its_version_and_says_which_it_is(self, world: World) -> None:
        for _ in range(2):
            world.deliver()
        for alias in ("stable", "best"):
            point(world, 1, alias)
        with pytest.raises(Conflict, match="red@1 is what red@best, red@stable means: move the alias first"):
            delete(world, "red@1")
        delete(world, "red@2")
        assert world.models.show(LOCAL, "red@stable").versions == (1,)

    def test_goes_too_by_force_and_only_those_that_point_there(self, world: World) -> None:
        for _ in range(2):
            world.deliver()
        point(world, 1)
        point(world, 2, "best")
        delete(world, "red@1", force=True)
        assert [each.alias for each in world.models.show(LOCAL, "red").aliases] == ["best"]

    def test_is_not_what_deleting_takes(self, world: World) -> None:
        world.deliver()
        point(world, 1)
        with pytest.raises(InvalidRequest) as refused:
            delete(world, "red@stable")
        assert "DELETE /models/red/aliases/stable" in refused.value.errors[0].remedy

    def test_that_moves_while_its_version_is_deleted_never_points_to_nothing(self, world: World) -> None:
        for turn in range(6):
            world.deliver()
            version = turn + 1
            calls = [lambda v=version: point(world, v), lambda v=version: delete(world, f"red@{v}")]  # type: ignore[misc]
            random.Random(turn).shuffle(calls)
            wrong = [each for each in run_at_once(calls) if isinstance(each, Exception)]
            assert len(wrong) <= 1
            assert all(isinstance(each, Conflict | InvalidRequest | NotFound) for each in wrong), wrong
            with world.database.read() as unit:
                pointed = {each.version for each in unit.adapters.aliases(LOCAL.tenant, "red")}
                assert pointed <= set(unit.adapters.versions(LOCAL.tenant, "red"))


class TestAJobThatBeginsWithIt:
    @pytest.mark.parametrize("state", ["queued", "running", "pausing", "paused"])
    def test_stands_in_the_way_until_its_end(self, world: World, state: str) -> None:
        world.deliver()
        job = world.post(start_adapter="red", adapter_name="blue")
        if state != "queued":
            claim = world.claim_of(job)
        if state.startswith("paus"):
            world.jobs.pause(LOCAL, job.id)
        if state == "paused":
            world.attempts.stopped(job.id, claim.job.fence, "paused")
        assert world.get(job).state == state
        for force in (False, True):
            with pytest.raises(Conflict, match=f"{job.id} begins with red@1 and has not ended") as refused:
                delete(world, "red", force=force)
            assert refused.value.code == "adapter_in_use"
        world.jobs.cancel(LOCAL, job.id)
        if state in ("running", "pausing"):
            world.attempts.stopped(job.id, claim.job.fence, "cancelled")
        delete(world, "red")

    def test_with_another_version_does_not(self, world: World) -> None:
        for _ in range(2):
            world.deliver()
        world.post(start_adapter="red@2")
        delete(world, "red@1")

    def test_cannot_be_certified_without_it(self, world: World) -> None:
        world.deliver()
        job = world.run(start_adapter="red", adapter_name="blue", priority=10)
        for step in (1, 2):
            file = world.file(f"state {step}".encode())
            world.attempts.keep(job.id, job.fence, step, Kind.CHECKPOINT, f"checkpoint-{step}", file)
        world.jobs.cancel(LOCAL, job.id)
        world.attempts.stopped(job.id, job.fence, "cancelled")
        delete(world, "red")
        assert code_of(lambda: world.jobs.certify(LOCAL, job.id, CertificateRequest())) == "adapter_deleted"
        assert code_of(lambda: world.jobs.clone(LOCAL, job.id, {}, read=_read)) == "unknown_adapter"

    def test_posted_while_it_is_deleted_has_it_or_is_refused(self, world: World) -> None:
        for turn in range(6):
            world.deliver()
            reference = f"red@{turn + 1}"
            calls = [
                lambda r=reference: world.post(start_adapter=r, adapter_name="blue"),
                lambda r=reference: delete(world, r),
            ]  # type: ignore[misc]
            random.Random(turn).shuffle(calls)
            posted, wrong = [], []
            for each in run_at_once(calls):
                (wrong if isinstance(each, Exception) else posted).append(each)
            assert len(wrong) == 1, wrong
            assert isinstance(wrong[0], Conflict | InvalidRequest), wrong
            jobs = [each for each in posted if isinstance(each, Job)]
            assert bool(jobs) == (turn + 1 in versions(world))
            for job in jobs:
                world.jobs.cancel(LOCAL, job.id)


def versions(world: World) -> list[int]:
    with world.database.read() as unit:
        return list(unit.adapters.versions(LOCAL.tenant, "red"))


def _read(body: bytes) -> Any:
    from service.domain.recipes import JobRequest

    return JobRequest.model_validate_json(body)


class Stubborn:
    """A store whose deletes fail."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def delete(self, key: str) -> None:
        raise Unavailable

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_files_that_the_store_keeps_are_orphans_which_retention_removes(world: World) -> None:
    old = Old(world.database, world.store, world.catalogue, world.folder)
    job = full(old)
    before = keys(world.store, job)
    Adapters(world.database, Stubborn(world.store)).delete(LOCAL, "red")  # type: ignore[arg-type]
    assert keys(world.store, job) == before
    Sweep(world.database, world.store, Keep(uploads=2 * DAY), old.later(3)).turn()
    assert keys(world.store, job) == {each.key for each in world.artifacts.list(LOCAL, job.id)} < before
