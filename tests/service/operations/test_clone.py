"""A clone: the parent's request with overrides, read whole, its names looked up anew."""

from collections.abc import Mapping
from typing import Any

import pytest

from service.domain.errors import Conflict, InvalidRequest, NotFound
from service.domain.ids import JobId
from service.domain.jobs import Job, State
from service.domain.methods import METHODS, Trained
from service.domain.principals import LOCAL
from service.domain.recipes import JobRequest
from service.domain.rewards import SceneReward
from service.operations.deriving import OF_THE_BASE, merged
from service.operations.once import keyed
from tests.service.world import OTHER, World

RFC_7396_APPENDIX_A: list[tuple[Any, Any, Any]] = [
    # original, patch, result
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("original", "patch", "result"), RFC_7396_APPENDIX_A)
def test_overrides_are_merged_as_the_rfc_says(original: Any, patch: Any, result: Any) -> None:
    assert merged(original, patch) == result


def read(body: bytes) -> JobRequest:
    return JobRequest.model_validate_json(body, strict=True)


def clone(world: World, job: Job, overrides: Mapping[str, Any] | None = None, **given: Any) -> Job:
    return world.jobs.clone(given.pop("principal", LOCAL), job.id, overrides or {}, read, **given)[0]


def test_without_overrides_it_is_the_same_request_in_a_new_job(world: World) -> None:
    job = world.post(seed=7, metadata={"run": "1"}, lora={"rank": 4})
    twin = clone(world, job)
    assert (twin.parent, twin.state, twin.kind) == (job.id, State.QUEUED, "sharpening")
    assert twin.id != job.id
    assert twin.recipe == job.recipe.model_copy(update={"parent_id": job.id})
    assert world.bell.rings == 2
    assert world.get(job) == job


def test_overrides_change_what_they_name_at_any_depth(world: World) -> None:
    job = world.post(seed=7, metadata={"run": "1", "who": "me"}, adapter_name="red", max_seconds=9.5)
    twin = clone(
        world, job, {"method": {"candidates": 4}, "metadata": {"run": None}, "adapter_name": None, "max_seconds": None}
    ).recipe
    assert twin.method.model_dump() == job.recipe.method.model_dump() | {"candidates": 4}
    assert (twin.metadata, twin.adapter_name, twin.seed, twin.max_seconds) == ({"who": "me"}, None, 7, None)


def test_another_type_of_reward_keeps_nothing_of_the_old_one(world: World) -> None:
    twin = clone(world, world.post(), {"reward": {"type": "scene"}})
    assert twin.recipe.reward == SceneReward(type="scene")
    assert twin.recipe.reward_model is None


def test_on_another_base_what_goes_with_a_base_is_the_new_one_s_unless_it_is_named(world: World) -> None:
    other = {"name": "other", "learning_rate": 5e-5, "guidance_scale": 6.0, "num_inference_steps": 7}
    world.catalogue.bases["other"] = world.catalogue.bases["shapes"].model_copy(update=other)
    job = world.post(
        method={"type": "forward-process", "learning_rate": 3e-3, "candidates": 4}, validation={"every": 5}
    )
    twin = clone(world, job, {"base_model": "other", "samples": {"guidance": 2.0}}).recipe
    assert (twin.method.rate, twin.method.candidates) == (5e-5, 4)
    assert (twin.samples.guidance, twin.samples.num_inference_steps) == (2.0, 7)
    assert twin.validation is not None
    assert (twin.validation.every, twin.validation.guidance, twin.validation.num_inference_steps) == (5, 6.0, 7)
    assert clone(world, job, {"base_model": "shapes"}).recipe.method.rate == 3e-3


@pytest.mark.parametrize("method", METHODS)
def test_whatever_a_base_settles_of_a_method_a_clone_on_another_base_leaves_open(
    method: type[Trained], world: World
) -> None:
    (name,) = method.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
    asked = method(type=name)
    settled = asked.at(world.catalogue.bases["shapes"]).model_dump()
    assert {field for field, value in asked.model_dump().items() if settled[field] != value} <= {*OF_THE_BASE["method"]}


def test_a_clone_of_a_clone_has_the_clone_for_its_parent(world: World) -> None:
    first = clone(world, world.post())
    assert clone(world, first).parent == first.id


def test_its_event_says_what_it_was_made_of(world: World) -> None:
    job = world.post()
    event = world.jobs.events(LOCAL, clone(world, job, {"steps": 3, "seed": 4}).id).items[0]
    assert (event.type, event.data) == ("job.queued", {"cloned": job.id, "overrides": ["seed", "steps"]})


def test_the_whole_is_read_like_a_posted_body(world: World) -> None:
    job = world.post()
    for overrides in ({"steps": 0}, {"stps": 3}, {"prompts": None}, {"method": {"candidates": "4"}}):
        with pytest.raises(ValueError, match="validation error"):  # whatever the face's reader raises
            clone(world, job, overrides)
    with pytest.raises(InvalidRequest) as refused:
        clone(world, job, {"base_model": "nowhere"})
    assert refused.value.code == "unknown_base_model"
    assert len(world.jobs.list(LOCAL).items) == 1


def test_names_are_looked_up_anew(world: World) -> None:
    job = world.post()
    world.catalogue.bases["shapes"] = world.catalogue.bases["shapes"].model_copy(update={"revision": "2"})
    assert clone(world, job).recipe.base.revision == "2"
    world.catalogue.bases.clear()
    with pytest.raises(InvalidRequest):
        clone(world, job)


def test_what_is_not_there_or_is_anothers_cannot_be_cloned(world: World) -> None:
    job = world.post()
    with pytest.raises(NotFound):
        clone(world, job, principal=OTHER)
    with pytest.raises(NotFound):
        world.jobs.clone(LOCAL, JobId("job_" + "0" * 26), {}, read)


def test_a_certificate_is_asked_for_and_not_cloned(world: World) -> None:
    job = world.post()
    world.sql("UPDATE jobs SET kind = 'certificate' WHERE id = :id", id=job.id)
    with pytest.raises(Conflict) as refused:
        clone(world, job)
    assert refused.value.code == "cannot_clone"


def test_one_key_makes_one_clone(world: World) -> None:
    job = world.post()
    key = keyed("k", f"/jobs/{job.id}/clone", b"{}")
    (first, _), (again, replayed) = (world.jobs.clone(LOCAL, job.id, {}, read, key) for _ in range(2))
    assert (first.id, replayed) == (again.id, True)
    with pytest.raises(InvalidRequest) as refused:
        world.jobs.clone(LOCAL, job.id, {"seed": 1}, read, keyed("k", f"/jobs/{job.id}/clone", b'{"seed":1}'))
    assert refused.value.code == "idempotency_key_reused"
