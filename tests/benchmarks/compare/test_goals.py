"""Goals say met, missed or void for the right reasons: outcomes are written by hand, and one thing is turned at a time."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare.goals import goals, p4, p13, p14, trajectories
from benchmarks.compare.races import p2, p3
from benchmarks.compare.scale import Scale, quick
from benchmarks.compare.store import keep
from tests.benchmarks.compare.hand import PICTURES, Hand

PAPER, DEFAULT, TRAJECTORIES = "sharpening-rlhf-paper", "forward-process", "sharpening-rlhf"
RISING = [(10_000, 0.36), (20_000, 0.5), (60_000, 0.7)]
"""From a base of .3: half of the gain at 20,000."""


@pytest.fixture
def scale(tmp_path: Path) -> Scale:
    return replace(quick(tmp_path), curve_pictures=PICTURES, search_prompts=100, pool=32)


@pytest.fixture
def hand(scale: Scale) -> Hand:
    found = Hand(scale)
    found.base(0.3)
    return found


@pytest.fixture
def three(scale: Scale) -> Hand:
    """The same with three seeds to come."""
    found = Hand(replace(scale, seeds=(0, 1, 2)))
    found.base(0.3)
    return found


class TestP2:
    @pytest.mark.parametrize(("early", "word"), [(0.6, "met"), (0.4, "missed")])
    def test_a_quarter_of_the_paper_s_cost(self, scale: Scale, hand: Hand, early: float, word: str) -> None:
        hand.row(PAPER, long=True, curve=[(100_000, 0.5), (200_000, 0.6)])
        hand.row(DEFAULT, curve=[(40_000, early), (55_000, 0.6), (60_000, 0.6)])
        told = p2(scale)[0]
        assert f": {word}: " in told
        assert ("0.20 of it" in told) == (word == "met")

    def test_of_equal_points_the_cheaper_is_what_it_took(self, scale: Scale, hand: Hand) -> None:
        hand.row(PAPER, curve=[(30_000, 0.4), (60_000, 0.5)])
        hand.row(PAPER, long=True, curve=[(120_000, 0.4), (240_000, 0.5)])
        hand.row(DEFAULT, curve=[(20_000, 0.3), (40_000, 0.5), (60_000, 0.5)])
        assert ": missed: " in p2(scale)[0] and "0.67 of it" in p2(scale)[0]

    def test_waits_for_the_paper_s_long_run(self, scale: Scale, hand: Hand) -> None:
        hand.row(PAPER, curve=[(30_000, 0.4), (60_000, 0.5)])
        hand.row(DEFAULT, curve=[(10_000, 0.5), (60_000, 0.5)])
        assert "waiting for sharpening-rlhf-paper to the long budget" in p2(scale)[0]

    def test_a_long_run_that_failed_is_not_waited_for(self, scale: Scale, hand: Hand) -> None:
        hand.row(PAPER, curve=[(30_000, 0.4), (60_000, 0.5)])
        hand.failed(PAPER, long=True)
        hand.row(DEFAULT, curve=[(10_000, 0.5), (60_000, 0.5)])
        assert ": met: " in p2(scale)[0] and "0 of 1 seeds; seed 0: failed (nan_loss)" in p2(scale)[0]

    def test_is_void_where_the_paper_gains_nothing(self, scale: Scale, hand: Hand) -> None:
        hand.row(PAPER, long=True, curve=[(100_000, 0.32)])
        hand.row(DEFAULT, curve=[(40_000, 0.6), (60_000, 0.6)])
        assert ": void: " in p2(scale)[0]


class TestP3:
    @pytest.mark.parametrize(("fe", "word"), [(90_000, "met"), (50_000, "missed")])
    def test_half_of_the_default_s_gain(self, scale: Scale, hand: Hand, fe: int, word: str) -> None:
        hand.row(DEFAULT, curve=RISING)
        hand.row("ddpo", long=True, curve=[(fe - 1, 0.48), (fe, 0.5), (240_000, 0.5)])
        assert f": {word}: " in p3(scale)[0] and f"{fe:,} fe: {fe / 20_000:.1f} x" in p3(scale)[0]

    @pytest.mark.parametrize(("fe", "word"), [(45_000, "met"), (30_000, "missed")])
    def test_diffusion_dpo_is_to_need_twice_as_much(self, scale: Scale, hand: Hand, fe: int, word: str) -> None:
        hand.row(DEFAULT, curve=RISING)
        hand.row("diffusion-dpo", long=True, curve=[(fe - 1, 0.48), (fe, 0.5), (240_000, 0.5)])
        assert f": {word}: " in p3(scale)[2] and "goal: 2 x" in p3(scale)[2]

    def test_a_look_that_equals_half_the_gain_has_it(self, scale: Scale, hand: Hand) -> None:
        """The real default's first figures: 38 → 104 of 150, and 71 at its fourth look."""
        hand.base(38 / 150)
        hand.row(DEFAULT, curve=[(20_851, 0.4), (30_824, 71 / 150), (45_329, 0.6), (59_835, 104 / 150)])
        hand.row("ddpo", long=True, curve=[(100_000, 0.48), (240_000, 0.48)])
        assert "30,824 fe" in p3(scale)[0]

    def test_both_sides_are_read_off_between_two_looks(self, scale: Scale, hand: Hand) -> None:
        hand.row(DEFAULT, curve=[(10_000, 0.4), (20_000, 0.6), (60_000, 0.7)])
        hand.row("ddpo", long=True, curve=[(40_000, 0.4), (80_000, 0.6), (240_000, 0.6)])
        assert "15,000 fe, ddpo (1 of 1 seeds) 60,000 fe: 4.0 x" in p3(scale)[0]

    def test_the_earlier_of_a_rival_s_two_runs_counts(self, scale: Scale, hand: Hand) -> None:
        hand.row(DEFAULT, curve=RISING)
        hand.row("ddpo", curve=[(30_000, 0.4), (60_000, 0.5)])  # at its end, which no look can contradict
        hand.row("ddpo", long=True, curve=[(120_000, 0.5), (240_000, 0.5)])
        assert "60,000 fe: 3.0 x" in p3(scale)[0]

    def test_a_rival_that_never_gets_there_is_a_bound(self, scale: Scale, hand: Hand) -> None:
        hand.row(DEFAULT, curve=RISING)
        hand.row("ddpo", long=True, curve=[(120_000, 0.4), (240_000, 0.4)])
        assert ": met: " in p3(scale)[0] and "above 12.0 x" in p3(scale)[0]

    def test_a_rival_whose_long_run_failed_is_bounded_by_its_main_one(self, scale: Scale, hand: Hand) -> None:
        hand.row(DEFAULT, curve=RISING)
        hand.failed("ddpo", long=True)
        assert ": failed ddpo to the long budget (0 of 1 seeds; seed 0: failed (nan_loss))" in p3(scale)[0]
        hand.row("ddpo", curve=[(30_000, 0.4), (50_000, 0.4)])
        assert ": failed: " in p3(scale)[0] and "above 2.5 x" in p3(scale)[0]
        hand.row("ddpo", curve=[(30_000, 0.4), (70_000, 0.4)])
        assert ": met: " in p3(scale)[0] and "above 3.5 x" in p3(scale)[0]

    def test_one_failure_of_three_is_told_and_waited_for(self, three: Hand) -> None:
        three.row(DEFAULT, curve=RISING)
        three.failed("ddpo", long=True)
        assert "waiting for ddpo to the long budget (0 of 3 seeds; seed 0: failed (nan_loss))" in p3(three.scale)[0]

    def test_is_void_where_the_default_gains_nothing(self, scale: Scale, hand: Hand) -> None:
        hand.row(DEFAULT, curve=[(10_000, 0.3), (60_000, 0.3)])
        hand.row("ddpo", long=True, curve=[(120_000, 0.4)])
        assert ": void: " in p3(scale)[0]


class TestOnTestPictures:
    @pytest.mark.parametrize(("share", "word"), [(0.9, "met"), (0.8, "missed")])
    def test_p4_scene(self, scale: Scale, hand: Hand, share: float, word: str) -> None:
        hand.row(DEFAULT, share, trained_on="scene")
        assert p4(scale)[0].startswith(f"scene, main budget: {word}")

    @pytest.mark.parametrize(("eight", "word"), [(0.6, "met"), (0.9, "missed")])
    def test_p4_clip_against_best_of_8(self, scale: Scale, hand: Hand, eight: float, word: str) -> None:
        hand.row(DEFAULT, 0.75)
        best = {n: {"exact": exact, "by_prompt": [exact] * 100} for n, exact in (("8", eight), ("32", 0.95))}
        keep(scale.outcomes, "pool-plain", {"setting": [1, 20], "best_of": best})
        assert p4(scale)[1].startswith(f"clip, main budget: {word}")

    @pytest.mark.parametrize(("share", "word"), [(0.3, "met"), (0.5, "missed")])
    def test_p13_shuffled_rewards_gain_nothing(self, scale: Scale, hand: Hand, share: float, word: str) -> None:
        hand.row("shuffled-reward", share, trained_on="none")
        assert p13(scale).startswith(word)

    @pytest.mark.parametrize(("share", "word"), [(0.5, "met"), (0.4, "missed")])
    def test_p14_fifteen_points_over_the_base_s_best(self, scale: Scale, hand: Hand, share: float, word: str) -> None:
        hand.row(DEFAULT, share)
        assert p14(scale).startswith(word)

    def test_p14_is_judged_at_the_main_budget_whatever_the_long_one_gained(self, scale: Scale, hand: Hand) -> None:
        hand.row(DEFAULT, 0.4)
        hand.row(DEFAULT, 0.9, long=True)
        assert p14(scale).startswith(
            "missed: main budget +9.9 points"
        ) and "beside it, long budget +59.9 points" in p14(scale)

    @pytest.mark.parametrize(
        ("guidance", "words"),
        [
            ({}, "rollouts at guidance 1: met without it"),
            ({"rollout_guidance": 2.0}, "rollouts at guidance 2"),
            ({"loss_guidance": 2.0}, "rollouts at guidance 1 and losses at guidance 2"),
        ],
    )
    def test_p14_says_what_guidance_there_was(
        self, scale: Scale, hand: Hand, guidance: dict[str, float], words: str
    ) -> None:
        """Of a method without guidance in its loss nothing is said of that."""
        hand.row(DEFAULT, 0.5, recipe=guidance)
        assert p14(scale).endswith(words)


class TestTrajectories:
    @pytest.mark.parametrize(
        ("own", "other", "word"),
        [(0.6, 0.4, "beats it,"), (0.5, 0.5, "does not beat it,"), (0.4, 0.6, "is beaten by it,")],
    )
    def test_says_which_way_it_went(self, scale: Scale, hand: Hand, own: float, other: float, word: str) -> None:
        hand.row(TRAJECTORIES, own)
        hand.row("online-dpo", other)
        assert trajectories(scale).startswith(word)

    def test_pairs_the_seeds_that_both_have(self, three: Hand) -> None:
        for seed, share in ((0, 0.5), (1, 0.6), (2, 0.9)):
            three.row(TRAJECTORIES, share, seed=seed)
        for seed, share in ((0, 0.4), (1, 0.3)):
            three.row("online-dpo", share, seed=seed)
        told = trajectories(three.scale)
        assert "paired over 2 of 3 seeds" in told and "seed by seed +10." in told

    def test_is_told_at_both_guidances_and_at_the_best(self, scale: Scale, hand: Hand) -> None:
        hand.row(TRAJECTORIES, 0.6)
        hand.row("online-dpo", 0.4)
        for where in ("test, guidance 1 ", "own best ", "validation, guidance 1 ", "validation, guidance 3 "):
            assert where in trajectories(scale)


class TestGoals:
    def test_wait_for_what_is_not_finished(self, scale: Scale, hand: Hand) -> None:
        assert all("waiting" in told for told in goals(scale))

    def test_say_on_how_many_seeds_they_rest(self, three: Hand) -> None:
        for method, trained_on in (
            (DEFAULT, "clip"),
            (DEFAULT, "scene"),
            (TRAJECTORIES, "clip"),
            ("online-dpo", "clip"),
            ("shuffled-reward", "none"),
        ):
            three.row(method, 0.6, trained_on=trained_on, curve=RISING)
            three.failed(method, trained_on=trained_on, seed=2)
        for method in (PAPER, "ddpo", "diffusion-dpo"):
            three.row(method, 0.5, long=True, curve=[(120_000, 0.4), (240_000, 0.45)])
        best = {"8": {"exact": 0.5, "by_prompt": [0.5] * 100}}
        keep(three.scale.outcomes, "pool-plain", {"setting": [1, 20], "best_of": best})
        told = [line for line in goals(three.scale) if "waiting" not in line]
        assert len(told) == len(goals(three.scale)) - 1  # the default to the long budget
        assert all("1 of 3 seeds" in line for line in told)
        assert all("seed 2: failed (nan_loss)" in line for line in told)
