"""A scene and its English are one thing said twice."""

import pytest

from worker.shapes.scene import INVERSE, Scene, Thing, every_scene, parse

RED_CIRCLE, BLUE_SQUARE = Thing("red", "circle"), Thing("blue", "square")


def test_every_prompt_reads_back():
    scenes = every_scene()
    assert len(scenes) == 32 + 4 * 32 * 31 == len({scene.prompt for scene in scenes})
    assert all(parse(scene.prompt) == scene for scene in scenes)


def test_prompts_read_as_english():
    assert Scene(RED_CIRCLE).prompt == "a red circle"
    assert Scene(RED_CIRCLE, "left of", BLUE_SQUARE).prompt == "a red circle left of a blue square"
    assert Scene(RED_CIRCLE, "left of", BLUE_SQUARE).inverse.prompt == "a blue square right of a red circle"
    assert all(INVERSE[INVERSE[relation]] == relation for relation in INVERSE)


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("", 'Expected "a COLOUR SHAPE"'),
        ("red circle", 'Expected "a COLOUR SHAPE"'),
        ("a mauve circle", '"mauve" is not a known colour: use one of red, green'),
        ("a red star", '"star" is not a known shape: use one of circle, square'),
        ("a red circle beside a blue square", "use one of left of, right of, above, below"),
        ("a red circle left of", 'Expected "a COLOUR SHAPE"'),
        ("a red circle above a blue square above a green cross", 'Expected "a COLOUR SHAPE"'),
        ("a red circle above a red circle", "must differ"),
        ("A red circle", 'Expected "a COLOUR SHAPE"'),
    ],
)
def test_other_text_is_refused_with_the_vocabulary(prompt, complaint):
    with pytest.raises(ValueError) as caught:
        parse(prompt)
    assert complaint in str(caught.value)


def test_a_relation_needs_a_second_thing():
    with pytest.raises(ValueError, match="neither"):
        Scene(RED_CIRCLE, "above")
    with pytest.raises(ValueError, match="neither"):
        Scene(RED_CIRCLE, None, BLUE_SQUARE)
