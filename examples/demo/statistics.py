"""The demo's figures: shares and paired gains with their intervals."""

from collections.abc import Sequence

import numpy as np

from worker.evaluation.interval import Interval, bootstrap


def share(values: np.ndarray, prompts: Sequence[str]) -> Interval:
    """The mean of values [prompts, pictures of a prompt] with its interval: prompts are what is drawn again.

    Of a gain, hand in the differences of paired pictures.
    """
    return bootstrap(values.ravel().tolist(), [prompt for prompt in prompts for _ in range(values.shape[1])])
