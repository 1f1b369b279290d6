"""Where walks may start, by counting the places of the schedule one by one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.domain.methods import METHODS, SharpeningRLHF, SharpeningSFT
from service.domain.methods.walks import only_in_noise, walk_starts

WALKS = st.fixed_dictionaries(
    {"walk_steps": st.integers(2, 60), "trajectory_length": st.integers(1, 10), "least_noise": st.sampled_from([0, 0.5, 0.75])}
)  # fmt: skip


def allowed(walk: dict[str, Any]) -> list[int]:
    """The places of the schedule with enough noise and enough steps left."""
    steps = walk["walk_steps"]
    return [
        place
        for place in range(steps)
        if (place + 1) / steps <= 1 - walk["least_noise"] and place + walk["trajectory_length"] <= steps
    ]


WALK = WALKS.filter(allowed)


class TestWalkStarts:
    @given(WALK)
    def test_are_the_places_with_enough_noise_and_enough_steps_left(self, walk: dict[str, Any]) -> None:
        for method in (SharpeningSFT(type="sharpening-sft", states="renoised", **walk), renoised(**walk)):
            assert walk_starts(method) == len(allowed(walk))

    @given(WALKS)
    def test_exactly_a_walk_that_has_none_is_refused(self, walk: dict[str, Any]) -> None:
        if allowed(walk):
            renoised(**walk)
            return
        with pytest.raises(ValidationError, match=r"trajectory_length \(|walk_steps \("):
            renoised(**walk)

    @pytest.mark.parametrize("method", METHODS)
    def test_only_methods_that_renoise_and_walk_have_some(self, method: Any) -> None:
        made = method(type=method.model_fields["type"].annotation.__args__[0])
        assert (walk_starts(made) is not None) == isinstance(made, SharpeningSFT)
        assert walk_starts(renoised()) is not None


class TestOnlyInNoise:
    @given(WALK)
    def test_what_it_advises_is_the_least_that_helps(self, walk: dict[str, Any]) -> None:
        remedy = only_in_noise(renoised(**walk))
        assert (remedy is None) == (walk_starts(renoised(**walk)) != 1)
        if remedy is not None:
            steps = int(remedy.split("method.walk_steps to ")[1].split(" ")[0])
            assert walk_starts(renoised(**{**walk, "walk_steps": steps})) == 2
            assert walk_starts(renoised(**{**walk, "walk_steps": steps - 1})) == 1

    def test_where_no_walk_is_long_enough_it_says_so(self) -> None:
        near_the_end = renoised(walk_steps=1000, trajectory_length=1, least_noise=0.999)
        assert only_in_noise(near_the_end) == "lower method.least_noise"


def renoised(**walk: Any) -> SharpeningRLHF:
    return SharpeningRLHF(type="sharpening-rlhf", states="renoised", **walk)
