"""Pictures drawn while a job trains, with the adapter that would be delivered now: samples to look at, validation to score.

Their calls are not training's: they are left out of its counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from service.domain.recipes import Recipe, Validation
from worker.evaluation.draw import draw
from worker.evaluation.score import rewards_of
from worker.models.family import Family
from worker.rewards.reward import Reward
from worker.training.events import Sampled, Validated
from worker.training.optimiser import Optimiser

SHOWN_PROMPTS = 4
VALIDATED_PROMPTS = 16


def sample(base: Family, optimiser: Optimiser, recipe: Recipe, prompts: Sequence[str], step: int) -> Sampled:
    """The recipe's sample pictures."""
    wanted, shown = recipe.samples, tuple(recipe.samples.prompts or prompts[:SHOWN_PROMPTS])
    seeds = tuple(range(len(shown)))
    with lent(optimiser.parameters, optimiser.average):
        drawn = draw(base, shown, seeds, guidance=wanted.guidance, steps=wanted.num_inference_steps)
    return Sampled(step, drawn.pictures, shown, seeds, wanted.guidance, wanted.num_inference_steps, drawn.nfe)


def validate(  # noqa: PLR0917 — what, with what, when
    base: Family, reward: Reward, optimiser: Optimiser, wanted: Validation, prompts: Sequence[str], step: int
) -> Validated:
    """The mean reward of one picture of each validation prompt, at fixed seeds."""
    shown = tuple(wanted.prompts or prompts[:VALIDATED_PROMPTS])
    with lent(optimiser.parameters, optimiser.average), base.adapter_folded():
        drawn = draw(base, shown, range(len(shown)), guidance=wanted.guidance, steps=wanted.num_inference_steps)
    return Validated(step, float(rewards_of(reward, drawn.pictures, shown).mean()), len(shown))


@contextmanager
def lent(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[None]:
    """The parameters hold other values inside the block, and their own bits again after it."""
    own = {name: parameter.data for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        parameter.data = values[name]
    try:
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = own[name]
