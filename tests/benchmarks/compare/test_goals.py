"""Goals say met, missed or void for the right reasons: outcomes are written by hand, and one thing is turned at a time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare.goals import Point, p2, p3, p4, p13, p14, reached
from benchmarks.compare.judging import to_bits
from benchmarks.compare.scale import Scale, quick
from benchmarks.compare.store import keep

PICTURES, TEST = 200, 988
Put = Callable[..., None]


@pytest.fixture
def scale(tmp_path: Path) -> Scale:
    return replace(quick(tmp_path), curve_pictures=PICTURES, search_prompts=100, pool=32)


def right(share: float, count: int) -> str:
    """The first of the pictures are right: gains are paired."""
    return to_bits(np.arange(count) < share * count)


def spread(share: float, count: int) -> str:
    """Every so many pictures are right, whatever the prompt."""
    return to_bits((np.arange(count) * 0.618034) % 1 < share)


def judged_at(share: float) -> dict[str, Any]:
    figures = {"pictures": TEST, "bits": spread(share, TEST), "nfe": 20}
    return {"1x20": {**figures, "setting": [1, 20]}, "3x10": {**figures, "setting": [3, 10]}}


@pytest.fixture
def put(scale: Scale) -> Put:
    """put("base", .3) or put("ddpo", curve=[(fe, exact), …], test=.5)."""

    def write(
        method: str, share: float = 0.3, *, trained_on: str = "clip", long: bool = False, curve: Any = ()
    ) -> None:
        seen = [
            {"fe": fe, "nfe": fe, "seconds": 1.0, "seen": {name: right(exact, PICTURES) for name in ("1x20", "3x10")}}
            for fe, exact in curve
        ]
        told = {
            "method": method,
            "trained_on": trained_on,
            "long": long,
            "seed": 0,
            "best": "3x10",
            "test": judged_at(share),
            "curve": seen,
        }
        if method == "base":
            keep(
                scale.outcomes,
                "base",
                {**told, "validation": {name: right(share, PICTURES) for name in ("1x20", "3x10")}},
            )
        else:
            keep(scale.outcomes, f"row-{method}-{trained_on}-{'long' if long else 'main'}-0", told)

    write("base", 0.3)
    return write


class TestReached:
    def test_counts_only_what_the_next_look_confirms(self) -> None:
        points = [
            Point(fe, np.full((1, 10), exact), np.zeros(10)) for fe, exact in ((1, 0), (2, 1), (3, 0), (4, 1), (5, 1))
        ]
        assert reached(points, 0.5) == 4

    def test_never_at_the_last_look_alone(self) -> None:
        points = [Point(fe, np.full((1, 10), exact), np.zeros(10)) for fe, exact in ((1, 0), (2, 1))]
        assert reached(points, 0.5) is None


class TestP2:
    @pytest.mark.parametrize(("early", "word"), [(0.6, "met"), (0.4, "missed")])
    def test_a_quarter_of_the_paper_s_cost(self, scale: Scale, put: Put, early: float, word: str) -> None:
        put("sharpening-rlhf-paper", long=True, curve=[(100_000, 0.5), (200_000, 0.55)])
        put("sharpening-rlhf", curve=[(40_000, early), (55_000, 0.6), (60_000, 0.6)])
        told = p2(scale)[0]
        assert f": {word}: " in told
        assert ("0.20 of it" in told) == (word == "met")

    def test_is_void_where_the_paper_gains_nothing(self, scale: Scale, put: Put) -> None:
        put("sharpening-rlhf-paper", long=True, curve=[(100_000, 0.32)])
        put("sharpening-rlhf", curve=[(40_000, 0.6), (60_000, 0.6)])
        assert ": void: " in p2(scale)[0]


class TestP3:
    @pytest.mark.parametrize(("fe", "word"), [(90_000, "met"), (50_000, "missed")])
    def test_half_of_the_default_s_gain(self, scale: Scale, put: Put, fe: int, word: str) -> None:
        put("sharpening-rlhf", curve=[(10_000, 0.35), (20_000, 0.5), (60_000, 0.7)])
        put("ddpo", long=True, curve=[(fe - 1, 0.45), (fe, 0.5), (240_000, 0.5)])
        assert f": {word}: " in p3(scale)[0]

    def test_a_rival_that_never_gets_there_is_a_bound(self, scale: Scale, put: Put) -> None:
        put("sharpening-rlhf", curve=[(10_000, 0.35), (20_000, 0.5), (60_000, 0.7)])
        put("ddpo", long=True, curve=[(120_000, 0.4), (240_000, 0.4)])
        assert "above 12.0 x" in p3(scale)[0]

    def test_is_void_where_the_default_gains_nothing(self, scale: Scale, put: Put) -> None:
        put("sharpening-rlhf", curve=[(10_000, 0.3), (60_000, 0.3)])
        put("ddpo", long=True, curve=[(120_000, 0.4)])
        assert ": void: " in p3(scale)[0]


class TestOnTestPictures:
    @pytest.mark.parametrize(("share", "word"), [(0.9, "met"), (0.8, "missed")])
    def test_p4_scene(self, scale: Scale, put: Put, share: float, word: str) -> None:
        put("sharpening-rlhf", share, trained_on="scene")
        assert p4(scale)[0].startswith(f"scene, main budget: {word}")

    @pytest.mark.parametrize(("eight", "word"), [(0.6, "met"), (0.9, "missed")])
    def test_p4_clip_against_best_of_8(self, scale: Scale, put: Put, eight: float, word: str) -> None:
        put("sharpening-rlhf", 0.75)
        best = {n: {"exact": exact, "by_prompt": [exact] * 100} for n, exact in (("8", eight), ("32", 0.95))}
        keep(scale.outcomes, "pool-plain", {"setting": [1, 20], "best_of": best})
        assert p4(scale)[1].startswith(f"clip, main budget: {word}")

    @pytest.mark.parametrize(("share", "word"), [(0.3, "met"), (0.5, "missed")])
    def test_p13_shuffled_rewards_gain_nothing(self, scale: Scale, put: Put, share: float, word: str) -> None:
        put("shuffled-reward", share, trained_on="none")
        assert p13(scale).startswith(word)

    @pytest.mark.parametrize(("share", "word"), [(0.5, "met"), (0.4, "missed")])
    def test_p14_fifteen_points_over_the_base_s_best(self, scale: Scale, put: Put, share: float, word: str) -> None:
        put("sharpening-rlhf", share)
        assert p14(scale).startswith(word)

    def test_waits_for_what_is_not_finished(self, scale: Scale, put: Put) -> None:
        assert all("waiting" in told for told in (*p2(scale), *p3(scale), *p4(scale), p13(scale), p14(scale)))
