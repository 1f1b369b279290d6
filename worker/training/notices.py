"""What a person should know of a training that goes on all the same: prompts that are cut, an adapter that few endpoints
draw with, a reward that says nothing."""

from collections.abc import Iterator, Sequence

from service.domain.adapters import SERVED_RANK
from service.domain.recipes import Recipe
from worker.models.family import Family
from worker.training.trial import sampled_prompts, validated_prompts

TOLD = 20
"""Cut prompts that are named: each is an event of the job, and ten thousand captions may all be too long."""
PATIENCE = 5
"""Most updates of ties that pass before a word is said."""


def cuts(base: Family, recipe: Recipe, prompts: Sequence[str]) -> Iterator[str]:
    """Of every prompt that will be read: those trained on, then samples and validation."""
    read = (*prompts, *sampled_prompts(recipe, prompts), *validated_prompts(recipe, prompts))
    sentences = base.truncations(tuple(dict.fromkeys(read)))
    yield from sentences[:TOLD]
    if len(sentences) > TOLD:
        yield f"{len(sentences) - TOLD} more cuts of that kind are not listed: shorten the long prompts, or accept what is lost"


def beyond_slots(recipe: Recipe) -> Iterator[str]:
    """Where the adapter will be of a larger rank than an endpoint takes that nobody configured for it."""
    if recipe.lora.rank > SERVED_RANK:
        yield (
            f"the adapter will have rank {recipe.lora.rank}, and an inference endpoint draws with {SERVED_RANK} at most unless its "
            f"operator raises STROP_SLOT_RANK; train with lora.rank {SERVED_RANK} or less, or have it raised"
        )


class Ties:
    """Says once, of the first updates of an attempt, that all of them were ties: a reward that is the same for every
    candidate, by a mistake in it or because it does not fit the prompts, trains nothing and would end as a success."""

    def __init__(self, recipe: Recipe, prompts: int) -> None:
        self._size = recipe.method.prompts_per_step
        self._due = min(-(-prompts // self._size), PATIENCE, recipe.steps)
        self._seen, self._learned = 0, False

    def after(self, *, learned: bool) -> Iterator[str]:
        """The sentence, with the update that completes the first round of the prompts (or the fifth, if that is sooner)."""
        self._seen, self._learned = self._seen + 1, self._learned or learned
        if self._seen == self._due and not self._learned:
            yield (
                f"the reward tells no candidates apart: {self._seen} updates of {self._size} prompts each were ties only, and "
                "nothing was learned; look at the reward: what does it give to pictures of one prompt that differ?"
            )
