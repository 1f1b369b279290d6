"""`start_adapter`: an exact version of the tenant's, of the same base and layout, written into recipe and manifest."""

import json
from typing import Any

import pytest

from service.domain.adapters import AdapterVersion
from service.domain.artifacts import Kind
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.errors import InvalidRequest
from service.domain.jobs import Job
from service.domain.principals import LOCAL
from service.wire.shapes import Model
from tests.service.world import OTHER, World

LORA = {"rank": 4, "targets": ["attention"]}


def made(world: World, content: bytes = b"weights", **changes: Any) -> Job:
    """A job that has succeeded, with version after version of the adapter `red`."""
    job = world.run(**{"adapter_name": "red", "lora": LORA, **changes})
    world.attempts.keep(job.id, job.fence, 60, Kind.ADAPTER, "adapter.safetensors", world.file(content))
    return world.attempts.succeed(job.id, job.fence, training_nfe=8, training_fe=9.5, code_version="1")


def refused(world: World, **changes: Any) -> InvalidRequest:
    jobs = len(world.jobs.list(LOCAL).items)
    with pytest.raises(InvalidRequest) as error:
        world.post(**changes)
    assert len(world.jobs.list(LOCAL).items) == jobs
    return error.value


class TestPosting:
    def test_a_name_is_its_newest_version_for_ever(self, world: World) -> None:
        made(world, b"1")
        second = made(world, b"2")
        job = world.post(start_adapter="red")
        third = made(world, b"3", priority=1)
        assert (second.adapter, third.adapter) == ("red@2", "red@3")
        assert world.get(job).recipe.start_adapter == "red@2"

    def test_a_version_is_that_one_with_its_digest(self, world: World) -> None:
        first = made(world, b"1")
        made(world, b"2")
        file = world.artifacts.find(LOCAL, first.id, first.fence, "adapter.safetensors")
        recipe = world.post(start_adapter="red@1").recipe
        assert (recipe.start_adapter, recipe.start_adapter_sha256) == ("red@1", file.sha256)

    def test_an_adapter_without_a_name_goes_by_its_job(self, world: World) -> None:
        job = made(world, adapter_name=None)
        assert world.post(start_adapter=job.id).recipe.start_adapter == f"{job.id}@1"

    def test_a_layout_that_was_not_chosen_is_the_adapters(self, world: World) -> None:
        made(world)
        lora = world.post(start_adapter="red").recipe.lora
        assert (lora.rank, lora.targets) == (4, ("attention",))
        assert world.post(start_adapter="red", lora=LORA).recipe.lora == lora

    @pytest.mark.parametrize("name", ["blue", "red@2", "red@0", "../red", "https://x/y", "red@1@1", "shapes"])
    def test_what_is_not_there_is_refused(self, world: World, name: str) -> None:
        made(world)
        error = refused(world, start_adapter=name)
        assert (error.code, error.errors[0].path) == ("unknown_adapter", "start_adapter")
        assert "GET /models" in error.errors[0].remedy

    def test_another_tenants_is_not_there(self, world: World) -> None:
        made(world)
        with pytest.raises(InvalidRequest) as error:
            world.post(OTHER, start_adapter="red")
        assert error.value.code == "unknown_adapter"

    @pytest.mark.parametrize(
        ("lora", "path", "remedy"),
        [
            ({"rank": 8}, "lora.rank", "set it to 4"),
            ({"rank": 4, "targets": ["attention", "conv"]}, "lora.targets", "set them to attention"),
        ],
    )
    def test_another_layout_is_refused(self, world: World, lora: dict[str, Any], path: str, remedy: str) -> None:
        made(world)
        error = refused(world, start_adapter="red", lora=lora)
        assert error.code == "start_adapter_layout"
        assert (error.errors[0].path, error.errors[0].remedy[: len(remedy)]) == (path, remedy)

    @pytest.mark.parametrize(
        ("change", "base", "words"),
        [
            ({"name": "other"}, "other", "choose an adapter of other, or base_model shapes"),
            ({"revision": "2"}, "shapes", "leave start_adapter out"),
        ],
    )
    def test_one_of_another_base_model_is_refused(
        self, world: World, change: dict[str, str], base: str, words: str
    ) -> None:
        made(world)
        entry = BaseModelEntry.model_validate({**world.catalogue.bases["shapes"].model_dump(), **change})
        catalogue = Catalogue(bases={entry.name: entry}, rewards=world.catalogue.rewards)
        later = World(world.database, world.store, catalogue, world.folder)
        error = refused(later, base_model=base, start_adapter="red")
        assert (error.code, error.errors[0].path) == ("start_adapter_base", "start_adapter")
        assert words in error.errors[0].remedy


class TestClaim:
    def test_brings_its_file(self, world: World) -> None:
        first = made(world, b"1")
        made(world, b"2")
        world.post(start_adapter="red@1")
        assert world.claim().start == world.artifacts.find(LOCAL, first.id, first.fence, "adapter.safetensors")

    def test_of_a_job_that_begins_anew_brings_none(self, world: World) -> None:
        world.post()
        assert world.claim().start is None


def test_a_version_says_where_its_training_began(world: World) -> None:
    made(world)
    made(world, start_adapter="red")
    versions = [each for each in world.models.list(LOCAL) if isinstance(each, AdapterVersion)]
    assert {version.reference: version.start for version in versions} == {"red@1": None, "red@2": "red@1"}
    assert Model.of(versions[0]).start_adapter == versions[0].start == "red@1"


def test_the_manifest_says_where_the_adapter_began(world: World) -> None:
    def manifest(job: Job) -> dict[str, Any]:
        row = world.artifacts.find(LOCAL, job.id, job.fence, "manifest.json")
        said: dict[str, Any] = json.loads(b"".join(world.artifacts.read(row)))
        return said

    first = made(world)
    second = made(world, start_adapter="red")
    assert manifest(first)["start_adapter"] is None
    assert manifest(second)["start_adapter"] == "red@1"
    file = world.artifacts.find(LOCAL, first.id, first.fence, "adapter.safetensors")
    assert manifest(second)["start_adapter_sha256"] == file.sha256
