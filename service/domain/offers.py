"""What a job needs of a worker and what a worker offers: a job fits where every need is offered.

Needs are plain words (`family:sd`, `reward:clip`, `label:big`, `recipe:1`), one row each, so that rewards of several parts, plugins and
labels fit into the same claim; `memory_gib` is the one need that has an amount.
"""

from dataclasses import dataclass

from service.domain.recipes import RECIPE_FORMAT, Recipe

MEMORY = "memory_gib"


@dataclass(frozen=True, slots=True)
class Offers:
    """Which families of base models a worker can drive, which types of reward it can compute, the labels that its operator
    gave it, and the memory of its device in GiB."""

    families: frozenset[str]
    rewards: frozenset[str]
    labels: frozenset[str] = frozenset()
    memory_gib: float = 0.0

    def words(self) -> frozenset[str]:
        formats = map(str, range(1, RECIPE_FORMAT + 1))
        named = (("family", self.families), ("reward", self.rewards), ("label", self.labels), ("recipe", formats))
        return frozenset(f"{kind}:{name}" for kind, names in named for name in names)


def needs(recipe: Recipe) -> dict[str, float | None]:
    """The words that a worker must offer to run this recipe, each with how much of it, where that matters."""
    words = (f"family:{recipe.base.family}", f"reward:{recipe.reward.type}", f"recipe:{RECIPE_FORMAT}")
    wanted: dict[str, float | None] = dict.fromkeys((*words, *(f"label:{label}" for label in recipe.needs.labels)))
    if recipe.needs.memory_gib is not None:
        wanted[MEMORY] = recipe.needs.memory_gib
    return wanted
