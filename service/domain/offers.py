"""What a job needs of a worker and what a worker offers: a job fits where every need is offered.

Needs are plain words (`family:sd`, `reward:clip`), one row each, so that rewards of several parts, plugins and labels
fit into the same claim.
"""

from dataclasses import dataclass

from service.domain.recipes import Recipe


@dataclass(frozen=True, slots=True)
class Offers:
    """Which families of base models a worker can drive, and which types of reward it can compute."""

    families: frozenset[str]
    rewards: frozenset[str]

    def words(self) -> frozenset[str]:
        return frozenset({f"family:{name}" for name in self.families} | {f"reward:{name}" for name in self.rewards})


def needs(recipe: Recipe) -> frozenset[str]:
    """The words that a worker must offer to run this recipe."""
    return frozenset({f"family:{recipe.base.family}", f"reward:{recipe.reward.type}"})
