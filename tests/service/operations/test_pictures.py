"""`images_file`: pictures with captions, looked up when a job is posted and handed to the attempt that claims it."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.domain import archives
from service.domain.errors import Damaged, InvalidRequest
from service.domain.files import File
from service.domain.jobs import State
from service.domain.principals import LOCAL
from service.domain.prompts import digest
from service.domain.recipes import JobRequest
from service.wire.bodies import parse
from tests.service.domain.archives import png, zipped
from tests.service.world import EVERYTHING, OTHER, World

SFT = {"type": "sharpening-sft"}
NOISINGS = {"type": "sharpening-sft", "selection_among": "noisings"}


def pictures(world: World, *captions: str) -> File:
    entries: dict[str, bytes] = {}
    for number, caption in enumerate(captions):
        entries |= {f"{number}.png": png(), f"{number}.txt": caption.encode()}
    return world.files.upload(LOCAL, "set.zip", io.BytesIO(zipped(entries)))[0]


def refused(world: World, **changes: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        world.post(**changes)
    assert world.jobs.list(LOCAL).items == ()
    return error.value


class TestStates:
    def test_candidates_are_judged_on_rollouts_unless_pictures_come_along_that_had_none(self, world: World) -> None:
        """Settled when the job is posted: what it learns from is not left to the worker's release."""
        file = pictures(world, "a dog")
        assert world.post(method=SFT).recipe.method.states == "rollout"
        assert world.post(prompts=None, images_file=file.id, method=SFT).recipe.method.states == "renoised"
        assert world.post(prompts=None, images_file=file.id, method=NOISINGS).recipe.method.states == "renoised"
        assert world.post(method={**SFT, "states": "renoised"}).recipe.method.states == "renoised"


class TestPosting:
    def test_without_prompts_the_captions_are_the_prompts_each_once_in_order(self, world: World) -> None:
        file = pictures(world, "a dog", "a cat", "a dog")
        recipe = world.post(prompts=None, images_file=file.id, method=SFT).recipe
        assert (recipe.prompts, recipe.prompt_count, recipe.image_count) == (None, 2, 3)
        assert recipe.prompts_sha256 == digest(["a dog", "a cat"])
        assert recipe.images_sha256 == file.sha256

    def test_prompts_that_are_given_stay_the_prompts(self, world: World) -> None:
        file = pictures(world, "a dog", "a cat")
        recipe = world.post(prompts=["a  cat", "a cow"], images_file=file.id, method=SFT).recipe
        assert recipe.prompts == ("a cat", "a cow")
        in_a_file = world.files.upload(LOCAL, "p.txt", io.BytesIO(b"a cow\na dog\n"))[0]
        recipe = world.post(prompts=None, prompts_file=in_a_file.id, images_file=file.id, method=SFT).recipe
        assert recipe.prompts_sha256 == digest(["a cow", "a dog"])

    def test_captions_of_which_no_prompt_is_one_are_a_mistake(self, world: World) -> None:
        error = refused(world, prompts=["a cow"], images_file=pictures(world, "a dog").id, method=SFT)
        assert (error.code, error.errors[0].path) == ("images_unused", "images_file")
        assert "as prompts has them" in error.errors[0].remedy

    def test_captions_must_please_the_reward(self, world: World) -> None:
        file = pictures(world, "a red circle", "a dog")
        error = refused(world, prompts=None, images_file=file.id, method=SFT, reward={"type": "scene"})
        assert (error.code, error.errors[0].path) == ("prompt_not_a_scene", "images_file.1")

    def test_noisings_need_a_picture_of_each_prompt(self, world: World) -> None:
        file = pictures(world, "a dog", "a cat")
        world.jobs.cancel(LOCAL, world.post(prompts=None, images_file=file.id, method=NOISINGS).id)
        with pytest.raises(InvalidRequest) as error:
            world.post(prompts=["a dog", "a cow", "an owl"], images_file=file.id, method=NOISINGS)
        assert error.value.code == "prompt_without_picture"
        assert [wrong.path for wrong in error.value.errors] == ["prompts.1", "prompts.2"]
        assert "selection_among to images" in error.value.errors[0].remedy

    def test_another_tenants_are_not_there(self, world: World) -> None:
        with pytest.raises(InvalidRequest) as error:
            world.post(OTHER, prompts=None, images_file=pictures(world, "a dog").id, method=SFT)
        assert (error.value.code, error.value.errors[0].path) == ("unknown_file", "images_file")

    def test_a_file_of_prompts_holds_no_pictures(self, world: World) -> None:
        file = world.files.upload(LOCAL, "p.txt", io.BytesIO(b"a dog"))[0]
        error = refused(world, prompts=None, images_file=file.id, method=SFT)
        assert (error.code, error.errors[0].path) == ("wrong_file_kind", "images_file")

    def test_a_clone_brings_them_along(self, world: World) -> None:
        file = pictures(world, "a dog")
        job = world.post(prompts=None, images_file=file.id, method=SFT)
        clone, _ = world.jobs.clone(LOCAL, job.id, {"seed": 3}, partial(parse, JobRequest))
        assert (clone.recipe.images_file, clone.recipe.images_sha256) == (file.id, file.sha256)


class TestClaim:
    def test_names_the_archive_whose_captions_are_the_prompts(self, world: World, tmp_path: Path) -> None:
        file = pictures(world, "a dog")
        world.post(prompts=None, images_file=file.id, method=SFT)
        claim = world.claim()
        assert (claim.images, claim.prompts_file) == (file, None)
        world.attempts.read_file(file, tmp_path / "copy.zip")
        assert archives.read_captions(tmp_path / "copy.zip") == {"0.png": "a dog"}

    def test_has_the_prompts_where_some_were_given(self, world: World) -> None:
        world.post(prompts=["a dog"], images_file=pictures(world, "a dog").id, method=SFT)
        assert world.claim().job.recipe.prompts == ("a dog",)

    def test_of_a_job_without_pictures_names_none(self, world: World) -> None:
        world.post()
        assert world.claim().images is None

    def test_never_gives_other_bytes(self, world: World, tmp_path: Path) -> None:
        file = pictures(world, "a dog")
        world.store.put_file(file.key, world.file(zipped({"0.png": png(32), "0.txt": b"a dog"})))
        with pytest.raises(Damaged):
            world.attempts.read_file(file, tmp_path / "copy.zip")
        assert not (tmp_path / "copy.zip").exists()

    def test_of_a_job_whose_file_is_gone_fails_it_with_a_sentence(self, world: World) -> None:
        file = pictures(world, "a dog")
        job = world.post(prompts=None, images_file=file.id, method=SFT)
        world.sql("DELETE FROM files")
        assert world.attempts.claim("w1", "cpu", EVERYTHING) is None
        failed = world.get(job)
        assert failed.state is State.FAILED
        assert failed.error is not None
        assert file.id in failed.error.message
