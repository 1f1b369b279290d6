"""POST /jobs: names are looked up, prompts read, one job and one row written, and then the bell rung."""

import io
from typing import Any

import pytest

from service.domain.errors import InvalidRequest, NotFound
from service.domain.jobs import State
from service.domain.principals import LOCAL
from service.domain.prompts import digest
from tests.service.world import OTHER, World


def test_a_job_is_queued_and_the_bell_rung(world: World) -> None:
    job = world.post(metadata={"who": "me"}, priority=3)
    assert job.state is State.QUEUED
    assert (job.fence, job.failures, job.attempts, job.adapter, job.error) == (0, 0, (), None, None)
    assert job.metadata == {"who": "me"}
    assert job.created_at.utcoffset() is not None
    assert world.types(job) == ["job.queued"]
    assert world.bell.rings == 1
    assert world.get(job) == job


def test_the_recipe_holds_the_entries_and_the_prompts_in_one_spelling(world: World) -> None:
    job = world.post(prompts=["  a  red\tcircle ", "cafe\u0301"])
    assert job.recipe.prompts == ("a red circle", "café")
    assert job.recipe.prompts_sha256 == digest(["a red circle", "café"])
    assert job.recipe.prompt_count == 2
    assert job.recipe.base == world.catalogue.bases["shapes"]
    assert job.recipe.reward_model == world.catalogue.rewards["shapes-clip"]


def test_what_is_shown_and_validated_is_in_the_same_spelling(world: World) -> None:
    recipe = world.post(samples={"prompts": [" a  cat"]}, validation={"prompts": ["cafe\u0301"]}).recipe
    assert recipe.samples.prompts == ("a cat",)
    assert recipe.validation is not None
    assert recipe.validation.prompts == ("café",)


def test_prompts_may_stand_in_a_file(world: World) -> None:
    file = world.files.upload(LOCAL, "p.txt", io.BytesIO(b"a red circle\n\na blue square\n"))[0]
    job = world.post(prompts=None, prompts_file=file.id)
    assert (job.recipe.prompt_count, job.recipe.prompts) == (2, None)
    assert world.claim().prompts_file == file
    assert world.attempts.read_prompts(file, world.folder / "prompts") == ("a red circle", "a blue square")


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"base_model": "sd9"}, "unknown_base_model", "base_model"),
        ({"base_model": "../etc/passwd"}, "unknown_base_model", "base_model"),
        ({"reward": {"type": "clip", "model": "https://x/y"}}, "unknown_reward_model", "reward.model"),
        ({"adapter_name": "shapes"}, "adapter_name_taken", "adapter_name"),
        ({"prompts": ["a cat", "bad\u0007bell"]}, "invalid_prompt", "prompts.1"),
        ({"samples": {"prompts": ["\u200b\u0000"]}}, "invalid_prompt", "samples.prompts.0"),
        ({"reward": {"type": "scene"}, "prompts": ["a red circle", "a cat"]}, "prompt_not_a_scene", "prompts.1"),
        ({"prompts": None, "prompts_file": "file_" + "0" * 26}, "unknown_file", "prompts_file"),
    ],
)
def test_what_does_not_fit_is_refused_with_place_and_remedy(
    world: World, changes: dict[str, Any], code: str, path: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        world.post(**changes)
    assert refused.value.code == code
    assert refused.value.errors[0].path == path
    assert refused.value.errors[0].remedy
    assert world.jobs.list(LOCAL).items == ()
    assert world.bell.rings == 0


def test_every_wrong_name_is_told_at_once(world: World) -> None:
    with pytest.raises(InvalidRequest) as refused:
        world.post(base_model="x", reward={"type": "clip", "model": "y"})
    assert [error.path for error in refused.value.errors] == ["base_model", "reward.model"]


def test_another_tenant_sees_nothing(world: World) -> None:
    job = world.post()
    file = world.files.upload(LOCAL, "p.txt", io.BytesIO(b"a red circle"))[0]
    assert world.jobs.list(OTHER).items == ()
    for ask in (world.jobs.get, world.jobs.version, world.jobs.cancel, world.jobs.events, world.artifacts.list):
        with pytest.raises(NotFound):
            ask(OTHER, job.id)
    with pytest.raises(InvalidRequest):
        world.post(OTHER, prompts=None, prompts_file=file.id)
    with pytest.raises(NotFound):
        world.files.get(OTHER, file.id)


@pytest.mark.parametrize("odd", ["job_1", "", "job_\0", "x" * 10_000, "job_" + "0" * 26])
def test_an_id_that_cannot_be_is_not_found(world: World, odd: Any) -> None:
    with pytest.raises(NotFound):
        world.jobs.get(LOCAL, odd)


class TestPages:
    def test_newest_first_each_once_whatever_is_added_meanwhile(self, world: World) -> None:
        posted = [world.post().id for _ in range(5)]
        first = world.jobs.list(LOCAL, limit=2)
        world.post()
        second = world.jobs.list(LOCAL, limit=2, cursor=first.next_cursor)
        third = world.jobs.list(LOCAL, limit=2, cursor=second.next_cursor)
        assert [job.id for page in (first, second, third) for job in page.items] == posted[::-1]
        assert (first.has_more, third.has_more, third.next_cursor) == (True, False, None)

    def test_filtered_by_state(self, world: World) -> None:
        gone, stays = world.post(), world.post()
        world.jobs.cancel(LOCAL, gone.id)
        assert [job.id for job in world.jobs.list(LOCAL, state=State.QUEUED).items] == [stays.id]
        assert [job.id for job in world.jobs.list(LOCAL, state=State.CANCELLED).items] == [gone.id]

    @pytest.mark.parametrize("cursor", ["x", "%%%", "bm90IGEgY3Vyc29y", "MjAyMC0wMS0wMSBqb2I", "é"])
    def test_a_cursor_that_is_none_of_ours_is_refused(self, world: World, cursor: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            world.jobs.list(LOCAL, cursor=cursor)
        assert refused.value.code == "invalid_cursor"

    def test_events_go_on_after_a_number(self, world: World) -> None:
        job = world.run()
        for step in range(1, 4):
            world.attempts.record(job.id, job.fence, step, "job.step", {"reward": 0.1})
        page = world.jobs.events(LOCAL, job.id, after=1, limit=2)
        assert ([event.number for event in page.items], page.has_more, page.next_cursor) == ([2, 3], True, "3")
        rest = world.jobs.events(LOCAL, job.id, after=3)
        assert ([event.number for event in rest.items], rest.has_more) == ([4, 5], False)
