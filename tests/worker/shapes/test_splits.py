"""No combination that is tested is ever trained on."""

import itertools
from collections import Counter

import pytest

from worker.shapes.scene import parse
from worker.shapes.splits import occurrences, partition, prompts

SPLITS = ("train", "validation", "test")


def seen(split):
    """All (colour, shape, relation) of a split's prompts, in both phrasings."""
    scenes = [parse(prompt) for prompt in prompts(split)]
    return {o for scene in scenes for said in (scene, scene.inverse) for o in occurrences(said)}


def test_all_128_occurrences_are_dealt_once():
    assert Counter(partition().values()) == {"train": 58, "validation": 25, "test": 45}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(SPLITS, 2)))
def test_splits_share_no_colour_shape_and_relation(one, other):
    assert seen(one) and seen(other) and not seen(one) & seen(other)


def test_inverse_phrasings_stay_in_their_split():
    for split in SPLITS:
        texts = set(prompts(split))
        assert all(parse(text).inverse.prompt in texts for text in texts)


def test_order_is_fixed_and_lists_are_fresh():
    assert {split: len(prompts(split)) for split in SPLITS} == {"train": 810, "validation": 150, "test": 494}
    assert prompts("test")[0] == prompts("test")[0]
    prompts("test").clear()
    assert len(prompts("test")) == len(set(prompts("test")))


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, validation or test"):
        prompts("holdout")
