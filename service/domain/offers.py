"""What a job needs of a worker and what a worker offers: a job fits where every need is offered.

Needs are plain words (`family:sd`, `reward:clip`, `label:big`, `recipe:1`), one row each, so that rewards of several parts, plugins and
labels fit into the same claim; `memory_gib` is the one need that has an amount. A model is needed by its name and by what its entry
in the catalogue says of its bits (`model:base:shapes:0123456789abcdef`): a worker that has another one of that name, or none, passes
the job over. Jobs that were stored before there were such words need none of them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.recipes import RECIPE_FORMAT, Recipe

MEMORY = "memory_gib"
CUDA_GIB = 1.5
"""Of a base model's memory_gib: what CUDA takes for itself, whatever the precision."""
MODEL = "model:"
"""How the words of models begin."""
_BITS = ("kind", "source", "revision", "family", "resolution", "type")
"""What makes a model another one. Not its licence, its description and the endpoint's defaults: a job carries its own copy of those.
Stored words rest on this list: a field that is added belongs to them only where it is not at its default."""


@dataclass(frozen=True, slots=True)
class Offers:
    """Which families of base models a worker can drive, which types of reward it can compute, the labels that its operator
    gave it, and the memory of its device in GiB. `models`: the words of the models that it can stage; None: of all, for whoever stages
    none."""

    families: frozenset[str]
    rewards: frozenset[str]
    labels: frozenset[str] = frozenset()
    memory_gib: float = 0.0
    models: frozenset[str] | None = None

    def words(self) -> frozenset[str]:
        formats = map(str, range(1, RECIPE_FORMAT + 1))
        named = (("family", self.families), ("reward", self.rewards), ("label", self.labels), ("recipe", formats))
        return frozenset(f"{kind}:{name}" for kind, names in named for name in names) | (self.models or frozenset())

    def told(self) -> "Offered":
        return Offered(self.words(), self.models is None, self.memory_gib)


@dataclass(frozen=True, slots=True)
class Offered:
    """The same as it is compared with needs, and told to others. `any_model`: it stages none, and so lacks none."""

    words: frozenset[str]
    any_model: bool
    memory_gib: float

    def meets(self, need: str, amount: float | None) -> bool:
        """As a claim does in the database."""
        if amount is not None:
            return need == MEMORY and amount <= self.memory_gib
        return need in self.words or (self.any_model and need.startswith(MODEL))

    def covers(self, other: "Offered") -> bool:
        """Whether it could take each job that the other could."""
        words = {word for word in other.words - self.words if not (self.any_model and word.startswith(MODEL))}
        return not words and self.any_model >= other.any_model and self.memory_gib >= other.memory_gib


def model_word(entry: BaseModelEntry | RewardModelEntry) -> str:
    """The same for two entries of one name exactly where they mean the same bits."""
    said = {name: value for name in _BITS if (value := getattr(entry, name, None)) is not None}
    return f"{MODEL}{entry.kind}:{entry.name}:{_short(said)}"


def decoder_word(entry: BaseModelEntry) -> str:
    """Of a base model's preview decoder, which only jobs that preview by it need."""
    return f"{MODEL}decoder:{entry.name}:{_short(entry.preview_decoder)}"


def model_needs(recipe: Recipe) -> Iterator[tuple[str, BaseModelEntry | RewardModelEntry]]:
    """The words of the models that a recipe names, each with the entry that it was posted with."""
    yield model_word(recipe.base), recipe.base
    if recipe.method.preview == "taesd":
        yield decoder_word(recipe.base), recipe.base
    if recipe.reward_model is not None:
        yield model_word(recipe.reward_model), recipe.reward_model


def catalogue_words(catalogue: Catalogue) -> Iterator[tuple[str, BaseModelEntry | RewardModelEntry]]:
    """The words of all that a catalogue has."""
    entries: Iterable[BaseModelEntry | RewardModelEntry] = (*catalogue.bases.values(), *catalogue.rewards.values())
    for entry in entries:
        yield model_word(entry), entry
        if isinstance(entry, BaseModelEntry) and entry.preview_decoder:
            yield decoder_word(entry), entry


def unknown_model(recipe: Recipe, catalogue: Catalogue) -> tuple[str, str] | None:
    """The first model of a recipe that a catalogue does not have as it was when the job was posted, and what it has instead;
    None where it has all of them, as far as bits go."""
    known = {word for word, _ in catalogue_words(catalogue)}
    for word, posted in model_needs(recipe):
        if word not in known:
            of_kind = catalogue.bases if posted.kind == "base" else catalogue.rewards
            found = "another entry of that name" if posted.name in of_kind else "no such entry"
            return f"the catalogue's {posted.kind} model {posted.name!r}", found
    return None


def _short(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def needs(recipe: Recipe) -> dict[str, float | None]:
    """The words that a worker must offer to run this recipe, each with how much of it, where that matters: of memory as much
    as the job says, else as its base model's entry, which is reckoned in bf16: in fp32 all but CUDA's own is twice that."""
    words = (f"family:{recipe.base.family}", f"reward:{recipe.reward.type}", f"recipe:{RECIPE_FORMAT}")
    models, labels = (word for word, _ in model_needs(recipe)), (f"label:{label}" for label in recipe.needs.labels)
    wanted: dict[str, float | None] = dict.fromkeys((*words, *models, *labels))
    memory = recipe.base.memory_gib
    if memory is not None and recipe.dtype == "fp32":
        memory = max(memory, 2 * memory - CUDA_GIB)
    memory = recipe.needs.memory_gib or memory
    if memory is not None:
        wanted[MEMORY] = memory
    return wanted
