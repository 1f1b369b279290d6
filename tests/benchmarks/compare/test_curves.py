"""Where a curve comes to a share, and which look is its best."""

import math

import numpy as np
import pytest

from benchmarks.compare.curves import Curve, best_look, crossing, earliest, range_of

FE = [10.0, 20.0, 40.0, 80.0]


def flat(fe: list[float], shares: list[float], start: float = 0.0, pictures: int = 150) -> Curve:
    """The first of the pictures are right."""
    places = np.arange(pictures)
    exact = np.array([places < round(share * pictures) for share in shares], dtype=float)
    return Curve(np.array(fe), exact, (places < round(start * pictures)).astype(float))


class TestCrossing:
    @pytest.mark.parametrize("target", [0.15, 0.3, 0.31, 0.42, 0.5])
    def test_lies_on_the_line_between_the_looks_around_it(self, target: float) -> None:
        """Reference: numpy's interpolation of the inverse, on a curve that only rises."""
        shares, start = [0.3, 0.4, 0.5, 0.6], 0.1
        expected = np.interp(target, [start, *shares], [0.0, *FE])
        assert crossing(FE, shares, start, target, end=False) == pytest.approx(expected)

    def test_counts_only_what_the_next_look_confirms(self) -> None:
        assert crossing([1, 2, 3, 4, 5], [0, 1, 0, 1, 1], 0, 1, end=False) == 4

    def test_a_share_that_equals_the_target_but_for_rounding_is_there(self) -> None:
        """A third of the way in floats: 71 of 150 pictures are just below the middle of 38 and 104."""
        target = 38 / 150 + (104 / 150 - 38 / 150) / 2
        assert target > 71 / 150
        assert crossing([30, 45, 60], [71 / 150, 90 / 150, 104 / 150], 38 / 150, target, end=False) == pytest.approx(30)

    @pytest.mark.parametrize(("end", "found"), [(True, 2), (False, None)])
    def test_the_last_look_counts_where_the_doubt_is_the_run_s(self, end: bool, found: float | None) -> None:
        assert crossing([1, 2], [0, 1], 0, 1, end=end) == found

    def test_of_two_schedules_the_earlier_counts(self) -> None:
        one, other = flat([10, 20, 30], [0.2, 0.4, 0.4]), flat([5, 10, 15], [0.4, 0.4, 0.4])
        assert earliest([one, other], 0.4, end=False) == pytest.approx(5)
        assert earliest([one], 0.5, end=False) is None


class TestBestLook:
    def test_of_equal_ones_the_cheapest_whichever_run_it_is_of(self) -> None:
        main, long = flat([30, 60], [0.4, 0.5]), flat([60, 240], [0.4, 0.5])
        for some in ([main, long], [long, main]):
            found, place = best_look(some)
            assert found.fe[place] == 60 and found is main


class TestRangeOf:
    def test_never_is_told_and_not_reckoned_with(self) -> None:
        some = [flat(FE, [0.3, 0.4, 0.5, 0.6])]
        assert range_of(lambda weights: math.inf, some) == "95 %: never"
        half = np.arange(150) < 75
        told = range_of(lambda weights: math.inf if weights[half].sum() > 0.5 else 2.0, some)
        assert told == "95 %: 2.00 to never"
