"""One spelling of each prompt, one digest of all; scenes as worker/shapes knows them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import prompts, scenes
from service.domain.recipes import MAX_PROMPT_LENGTH
from worker.shapes import scene as shapes

TEXT = st.text(st.characters(codec="utf-8"))


@given(TEXT)
def test_normal_is_normal(text: str) -> None:
    once = prompts.normalise(text)
    assert prompts.normalise(once) == once
    assert once == once.strip()
    assert "\n" not in once


@given(st.lists(TEXT.map(prompts.normalise).filter(lambda prompt: prompts.fault(prompt) is None)))
def test_the_digest_is_that_of_the_file(many: list[str]) -> None:
    content = prompts.as_file(many)
    assert prompts.digest(many) == hashlib.sha256(content).hexdigest()
    assert content.decode().split("\n")[:-1] == many


@pytest.mark.parametrize("prompt", ["", "x" * (MAX_PROMPT_LENGTH + 1), "\x00", "a\x1bb", "\ud800"])
def test_faults(prompt: str) -> None:
    assert prompts.fault(prompt)


class TestScenes:
    def test_the_vocabulary_is_that_of_the_small_world(self) -> None:
        assert tuple(shapes.COLOURS) == scenes.COLOURS
        assert scenes.SHAPES == shapes.SHAPES
        assert scenes.RELATIONS == shapes.RELATIONS

    def test_every_scene_is_one(self) -> None:
        assert all(scenes.is_scene(scene.prompt) for scene in shapes.every_scene())

    @pytest.mark.parametrize(
        "prompt",
        ["a cat", "a red circle left of a red circle", "red circle", "a red circle near a blue square", "A red circle",
         "a red circle above", "a red circle above a blue square below a red cross", "a  red circle", "a red circle\n"],
    )  # fmt: skip
    def test_what_worker_shapes_refuses_is_none(self, prompt: str) -> None:
        with pytest.raises(ValueError):
            shapes.parse(prompt)
        assert not scenes.is_scene(prompt)
