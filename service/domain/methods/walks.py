"""Where a walk from a re-noising may start, as far as the recipe tells: known when a job is posted."""

from itertools import count

from service.domain.methods.common import Trained, starts_of_walk
from service.domain.methods.sharpening import SharpeningRLHF, SharpeningSFT

MOST_STEPS = 1000
"""A walk's."""


def walk_starts(method: Trained) -> int | None:
    """Of the walk's schedule, the first so many places: m steps are left, and the noise is above `least_noise`.

    None for a method that walks from no re-noising. Where the schedule begins in pure noise (flow models,
    zero-terminal-SNR) its first place is no start: there all candidates are one, and nothing leads back to a picture.
    """
    if (isinstance(method, SharpeningSFT) and method.walks) or (
        isinstance(method, SharpeningRLHF) and method.states == "renoised"
    ):
        return starts_of_walk(method.least_noise, method.walk_steps, method.trajectory_length)
    return None


def only_in_noise(method: Trained) -> str | None:
    """The remedy where the first place is the only start; None where there are others, or no walks."""
    if walk_starts(method) != 1:
        return None
    assert isinstance(method, SharpeningRLHF | SharpeningSFT), "the others do not walk"
    steps = next(steps for steps in count(2) if starts_of_walk(method.least_noise, steps, method.trajectory_length) > 1)
    if steps > MOST_STEPS:
        return "lower method.least_noise"
    return f"raise method.walk_steps to {steps} or more, or lower method.least_noise or method.trajectory_length"
