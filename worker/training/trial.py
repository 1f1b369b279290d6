"""Pictures drawn while a job trains, with the adapter that would be delivered now: samples to look at, validation to score.

Their calls are not training's: they are left out of its counts. Of memory they take no more than training: a call draws
at most `micro_batch` pictures, each of two rows where there is guidance.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from service.domain.recipes import Recipe, served
from worker.evaluation.draw import draw
from worker.evaluation.score import rewards_of
from worker.models.family import Family
from worker.rewards.reward import Reward
from worker.training.events import Sampled, Validated
from worker.training.methods import micro_batch
from worker.training.optimiser import Optimiser

SHOWN_PROMPTS = 4
VALIDATED_PROMPTS = 16


def sampled_prompts(recipe: Recipe, prompts: Sequence[str]) -> tuple[str, ...]:
    """None where no samples are drawn."""
    return tuple(recipe.samples.prompts or prompts[:SHOWN_PROMPTS]) if recipe.samples.every else ()


def validated_prompts(recipe: Recipe, prompts: Sequence[str]) -> tuple[str, ...]:
    """None where nothing is validated."""
    return tuple(recipe.validation.prompts or prompts[:VALIDATED_PROMPTS]) if recipe.validation else ()


def sample(base: Family, optimiser: Optimiser, recipe: Recipe, prompts: Sequence[str], step: int) -> Sampled:
    """The recipe's sample pictures."""
    shown = sampled_prompts(recipe, prompts)
    seeds, rows = tuple(range(len(shown))), _rows(base, recipe)
    guidance, steps = served(recipe.samples, recipe.base)
    with lent(optimiser.parameters, optimiser.average):
        drawn = draw(base, shown, seeds, guidance=guidance, steps=steps, batch_size=rows)
    return Sampled(step, drawn.pictures, shown, seeds, guidance, steps, drawn.nfe)


def validate(  # noqa: PLR0917 — what, with what, when
    base: Family, reward: Reward, optimiser: Optimiser, recipe: Recipe, prompts: Sequence[str], step: int
) -> Validated:
    """The mean reward of one picture of each validation prompt, at fixed seeds. The recipe has a validation."""
    assert recipe.validation is not None
    shown, rows = validated_prompts(recipe, prompts), _rows(base, recipe)
    guidance, steps = served(recipe.validation, recipe.base)
    with lent(optimiser.parameters, optimiser.average), base.adapter_folded():
        drawn = draw(base, shown, range(len(shown)), guidance=guidance, steps=steps, batch_size=rows)
    return Validated(step, float(rewards_of(reward, drawn.pictures, shown).mean()), len(shown))


def _rows(base: Family, recipe: Recipe) -> int:
    return micro_batch(recipe.method, base.latent_shape, free_guidance=base.free_guidance)


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
