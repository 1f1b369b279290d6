"""The oracle passes real renders and refuses near misses, each on 1,000 pictures."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from worker.shapes.oracle import components, judge
from worker.shapes.render import paint, render
from worker.shapes.scene import COLOURS, INVERSE, RELATIONS, SHAPES, THINGS, Scene, Thing, parse

COUNT = 1_000


def random_scene(rng, pair=True):
    first, second = (THINGS[i] for i in rng.choice(len(THINGS), 2, replace=False))
    return Scene(first, RELATIONS[rng.integers(4)], second) if pair else Scene(first)


def other(choices, taken, rng):
    rest = [choice for choice in choices if choice != taken]
    return rest[rng.integers(len(rest))]


@pytest.fixture(scope="module")
def drawn():
    """1,000 scenes, a fifth of one thing, with their pictures."""
    rng = np.random.default_rng(11)
    scenes = [random_scene(rng, pair=number % 5 > 0) for number in range(COUNT)]
    return [(scene, render(scene, rng)) for scene in scenes]


def exact_share(pairs):
    return np.mean([judge(image, scene).exact for scene, image in pairs])


def test_real_renders_are_exact(drawn):
    judgements = [judge(image, scene) for scene, image in drawn]
    assert np.mean([seen.exact for seen in judgements]) >= 0.995
    assert np.mean([seen.partial for seen in judgements]) >= 0.98
    assert np.mean([judge(Image.fromarray(image), scene.inverse).exact for scene, image in drawn[:200]]) >= 0.995


def recoloured(scene, rng):
    thing = Thing(other(list(COLOURS), scene.first.colour, rng), scene.first.shape)
    return None if thing == scene.second else Scene(thing, scene.relation, scene.second)


def reshaped(scene, rng):
    if scene.second is None:
        return Scene(Thing(scene.first.colour, other(SHAPES, scene.first.shape, rng)))
    thing = Thing(scene.second.colour, other(SHAPES, scene.second.shape, rng))
    return None if thing == scene.first else Scene(scene.first, scene.relation, thing)


def turned(scene, rng):
    return scene.relation and Scene(scene.first, INVERSE[scene.relation], scene.second)


def on_the_other_axis(scene, rng):
    if scene.relation is None:
        return None
    across = [r for r in RELATIONS if r not in (scene.relation, INVERSE[scene.relation])]
    return Scene(scene.first, across[rng.integers(2)], scene.second)


def rebound(scene, rng):
    a, b = scene.first, scene.second
    if b is None or a.colour == b.colour or a.shape == b.shape:
        return None
    return Scene(Thing(b.colour, a.shape), scene.relation, Thing(a.colour, b.shape))


def one_missing(scene, rng):
    return scene.second and Scene(scene.second)


def one_added(scene, rng):
    return None if scene.second else Scene(scene.first, RELATIONS[rng.integers(4)], other(THINGS, scene.first, rng))


@pytest.mark.parametrize("fault", [recoloured, reshaped, turned, on_the_other_axis, rebound, one_missing, one_added])
def test_a_picture_wrong_in_one_way_is_not_exact(fault):
    rng = np.random.default_rng(12)
    pairs = []
    while len(pairs) < COUNT:
        scene = random_scene(rng, pair=fault is not one_added)
        wrong = fault(scene, rng)
        if wrong:
            pairs.append((scene, render(wrong, rng)))
    assert exact_share(pairs) <= 0.02


def with_a_third(image, rng):
    """The picture with a small thing in an empty place, or None where there is no room."""
    ground = np.median(image[0], axis=0)
    drawn = np.abs(image.astype(float) - ground).sum(-1) > 60
    for _ in range(50):
        x, y = rng.integers(9, 55, 2)
        if not drawn[y - 8 : y + 9, x - 8 : x + 9].any():
            canvas = image.astype(float)
            paint(canvas, THINGS[rng.integers(len(THINGS))], (x, y, 6.0), rng)
            return np.clip(canvas, 0, 255).astype(np.uint8)
    return None


def test_a_third_thing_is_not_exact(drawn):
    rng = np.random.default_rng(13)
    pairs = [(scene, with_a_third(image, rng)) for scene, image in drawn]
    pairs = [(scene, image) for scene, image in pairs if image is not None]
    assert len(pairs) > 900
    assert exact_share(pairs) <= 0.02


def test_blurred_pictures_are_not_exact(drawn):
    blur = ImageFilter.GaussianBlur(2.5)
    assert exact_share((scene, np.asarray(Image.fromarray(image).filter(blur))) for scene, image in drawn) <= 0.02


def test_blank_and_noisy_pictures_are_not_exact(drawn):
    rng = np.random.default_rng(14)
    blank = [(scene, np.full_like(image, image[0, 0])) for scene, image in drawn]
    noise = [(scene, rng.integers(0, 256, image.shape, dtype=np.uint8)) for scene, image in drawn[:100]]
    assert exact_share(blank) == 0
    assert exact_share(noise) == 0


def test_mild_artefacts_are_forgiven(drawn):
    rng = np.random.default_rng(15)
    worn = []
    for scene, image in drawn:
        soft = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.7)))
        worn.append((scene, np.clip(soft + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)))
    assert exact_share(worn) >= 0.98


def test_the_partial_reward_falls_with_each_error():
    rng = np.random.default_rng(16)
    asked = parse("a red circle left of a blue square")
    shown = ["a red circle left of a blue square", "a red circle left of a blue triangle",
             "a green circle left of a blue triangle", "a green circle right of a blue triangle"]  # fmt: skip
    means = [np.mean([judge(render(parse(s), rng), asked).partial for _ in range(20)]) for s in shown]
    blank = judge(np.full((64, 64, 3), 220, np.uint8), asked).partial
    assert all(a > b + 0.03 for a, b in zip(means, [*means[1:], blank], strict=True))


def test_only_pictures_of_the_right_size_are_judged():
    scene = parse("a red circle")
    with pytest.raises(ValueError, match="64"):
        judge(np.zeros((32, 32, 3), np.uint8), scene)
    with pytest.raises(ValueError, match="float"):
        judge(np.zeros((64, 64, 3)), scene)


def test_components_join_diagonals_and_u_shapes():
    mask = np.array([[1, 0, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0]], dtype=bool)
    labels, count = components(mask)
    assert count == 2
    assert labels[0, 0] == labels[0, 2] == labels[3, 3] != labels[1, 4]
    assert not labels[~mask].any()
