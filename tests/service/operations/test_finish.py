"""The finish: manifest first, then one fenced transaction that makes the version and ends the job, or nothing."""

import hashlib
import json

import pytest

from service.domain.artifacts import Kind
from service.domain.errors import Conflict, FenceLost, InvalidTransition, NotFound, Unavailable
from service.domain.jobs import Job, State
from service.domain.principals import LOCAL
from tests.service.world import OTHER, World, run_at_once


def trained(world: World, **changes: object) -> Job:
    job = world.run(**changes)
    world.attempts.keep(job.id, job.fence, 60, Kind.ADAPTER, "adapter.safetensors", world.file(b"weights"))
    return job


def succeed(world: World, job: Job) -> Job:
    return world.attempts.succeed(job.id, job.fence, training_nfe=800, training_fe=960.5, code_version="1.2")


def test_makes_the_next_version_of_the_adapter(world: World) -> None:
    for version in (1, 2):
        done = succeed(world, trained(world, adapter_name="red-things"))
        assert (done.state, done.adapter) == (State.SUCCEEDED, f"red-things@{version}")
    assert done.attempts[0].cause == "succeeded"
    assert (done.progress.training_nfe, done.progress.training_fe) == (800, 960.5)
    assert world.types(done)[-2:] == ["job.finalizing", "job.succeeded"]


def test_without_a_name_the_adapter_goes_by_the_job(world: World) -> None:
    job = trained(world)
    assert succeed(world, job).adapter == f"{job.id}@1"
    assert world.models.resolve(LOCAL, job.id).reference == f"{job.id}@1"  # type: ignore[union-attr]


def test_the_manifest_lists_the_latest_file_of_each_name_wherever_it_lies(world: World) -> None:
    job = world.run(seed=7)
    first = world.attempts.keep(job.id, job.fence, 10, Kind.SAMPLE, "s-10.png", world.file(b"1"))
    world.attempts.keep(job.id, job.fence, 20, Kind.SAMPLE, "s-20.png", world.file(b"2"))
    world.end_lease(job)
    job = world.claim().job
    again = world.attempts.keep(job.id, job.fence, 20, Kind.SAMPLE, "s-20.png", world.file(b"3"))
    adapter = world.attempts.keep(job.id, job.fence, 60, Kind.ADAPTER, "adapter.safetensors", world.file())
    succeed(world, job)
    row = world.artifacts.find(LOCAL, job.id, job.fence, "manifest.json")
    content = b"".join(world.artifacts.read(row))
    manifest = json.loads(content)
    assert [line["key"] for line in manifest["files"]] == [adapter.key, first.key, again.key]
    assert manifest["files"][0]["sha256"] == adapter.sha256
    assert (manifest["seed"], manifest["prompt_count"], manifest["training_nfe"]) == (7, 1, 800)
    assert "version" not in manifest
    assert row.sha256 == hashlib.sha256(content).hexdigest()
    found = world.models.resolve(LOCAL, f"{job.id}@1")
    assert (found.manifest_sha256, found.file) == (row.sha256, adapter)  # type: ignore[union-attr]


def test_the_manifest_lists_checkpoints_apart_for_their_files_may_go(world: World) -> None:
    job = trained(world)
    kept = world.attempts.keep(job.id, job.fence, 60, Kind.CHECKPOINT, "c-60", world.file(b"state"))
    done = succeed(world, job)
    row = world.artifacts.find(LOCAL, job.id, done.fence, "manifest.json")
    manifest = json.loads(b"".join(world.artifacts.read(row)))
    assert [line["kind"] for line in manifest["files"]] == ["adapter"]
    assert [(line["step"], line["sha256"]) for line in manifest["checkpoints"]] == [(60, kept.sha256)]


def test_many_jobs_of_one_name_at_once_get_versions_without_gap(world: World) -> None:
    jobs = [trained(world, adapter_name="a") for _ in range(6)]
    done = run_at_once([lambda job=job: succeed(world, job) for job in jobs])  # type: ignore[misc]
    assert {job.adapter for job in done} == {f"a@{version}" for version in range(1, 7)}


def test_twice_at_once_is_one_version(world: World) -> None:
    job = trained(world, adapter_name="a")
    answers = run_at_once([lambda: succeed(world, job)] * 2)
    assert {type(answer) for answer in answers} == {Job, FenceLost}
    assert world.sql("SELECT last_version FROM adapters") == [(1,)]


def test_without_an_adapter_there_is_no_success(world: World) -> None:
    job = world.run()
    with pytest.raises(Conflict) as refused:
        succeed(world, job)
    assert refused.value.code == "adapter_missing"
    assert world.get(job).adapter is None


@pytest.mark.parametrize("state", ["cancelling", "pausing"])
def test_what_somebody_asked_for_before_it_comes_first(world: World, state: str) -> None:
    job = trained(world)
    world.sql("UPDATE jobs SET state = :state WHERE id = :id", state=state, id=job.id)
    with pytest.raises(InvalidTransition):
        succeed(world, job)
    assert world.get(job).state == state


def test_a_cancel_between_manifest_and_finish_wins(world: World) -> None:
    job = trained(world)
    put = world.store.put_file

    def cancels(key, path):  # type: ignore[no-untyped-def]
        put(key, path)
        world.jobs.cancel(LOCAL, job.id)

    world.store.put_file = cancels  # type: ignore[method-assign]
    with pytest.raises(InvalidTransition):
        succeed(world, job)
    assert world.attempts.stopped(job.id, job.fence, "cancelled").state is State.CANCELLED
    assert world.sql("SELECT * FROM adapter_versions") == []


def test_a_store_that_is_away_leaves_it_finalizing_and_the_same_call_finishes_later(world: World) -> None:
    job = trained(world)
    put = world.store.put_file

    def away(key, path):  # type: ignore[no-untyped-def]
        raise Unavailable

    world.store.put_file = away  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        succeed(world, job)
    assert world.get(job).state is State.FINALIZING
    world.store.put_file = put  # type: ignore[method-assign]
    assert succeed(world, job).state is State.SUCCEEDED


def test_a_finish_that_is_lost_half_way_is_done_by_the_next_attempt(world: World) -> None:
    job = trained(world)
    world.sql("UPDATE jobs SET state = 'finalizing' WHERE id = :id", id=job.id)
    world.end_lease(job)
    again = world.claim_of(job).job
    with pytest.raises(FenceLost):
        succeed(world, job)
    assert succeed(world, again).state is State.SUCCEEDED


class TestModels:
    def test_a_bare_name_is_the_newest_version(self, world: World) -> None:
        for _ in range(2):
            succeed(world, trained(world, adapter_name="a"))
        assert world.models.resolve(LOCAL, "a").version == 2  # type: ignore[union-attr]
        assert world.models.resolve(LOCAL, "a@1").version == 1  # type: ignore[union-attr]
        assert [getattr(model, "reference", model.name) for model in world.models.list(LOCAL)] == [
            "shapes",
            "a@2",
            "a@1",
        ]

    def test_a_base_model_is_its_entry(self, world: World) -> None:
        assert world.models.resolve(LOCAL, "shapes") is world.catalogue.bases["shapes"]

    @pytest.mark.parametrize("name", ["a@3", "b", "", "a@0", "a@-1", "../a", "a\0", "shapes@1", "A"])
    def test_what_is_not_there_is_not_found(self, world: World, name: str) -> None:
        succeed(world, trained(world, adapter_name="a"))
        with pytest.raises(NotFound):
            world.models.resolve(LOCAL, name)

    def test_adapters_belong_to_a_tenant(self, world: World) -> None:
        succeed(world, trained(world, adapter_name="a"))
        assert len(world.models.list(OTHER)) == 1
