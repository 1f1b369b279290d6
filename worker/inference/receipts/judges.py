"""Who judges a receipt's pictures: the job's own reward, and one that the training never saw.

Held out is, in this order:
    the exact oracle of the small world, where every prompt is a scene and pictures have its size
    a CLIP of the catalogue, other than the job's, that is on this machine already and knows the prompts' words
    nobody, and the receipt says so
Rewards that do not look at the prompt (jpeg-compressibility) judge nothing that a prompt asks for, and are never held out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from transformers import AutoTokenizer

from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.errors import JobFailure
from service.domain.recipes import Recipe
from service.domain.rewards import ClipReward, Reward, SceneReward
from service.domain.scenes import is_scene
from worker.evaluation.receipt import Judge, Judges
from worker.inference import bases
from worker.models.load import pick_device
from worker.rewards.make import make
from worker.rewards.reward import Reward as Judged
from worker.shapes.render import SIZE

NOBODY = "the catalogue has no other judge that is on this machine and knows the prompts' words"
TOKENS_A_WORD = 3
"""A tokenizer that needs more, on average, spells the words letter by letter: its CLIP never learned them."""


class Late:
    """A reward that is loaded at its first call: within a portion of the work, which has the device for itself. It goes with
    its receipt, so that no more than two are ever loaded, and none while pictures are drawn. Raises `reward_unloadable`."""

    def __init__(self, load: Callable[[], Judged]) -> None:
        self._load = load
        self._loaded: Judged | None = None

    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        self._loaded = self._loaded or self._load()
        return self._loaded(pictures, prompts)


@dataclass(frozen=True, slots=True)
class Judging:
    """Finds the judges among the catalogue's rewards, in this host's cache. They are loaded when they first judge."""

    catalogue: Catalogue
    cache: Path
    device: str

    def judges(self, recipe: Recipe, base: BaseModelEntry, prompts: Sequence[str]) -> Judges:
        """Fetches the job's own reward where it is not here, which may take as long as a download; touches no device.

        Raises JobFailure for the job's own reward: `reward_unavailable`, `catalogue_changed`; for one that has no tokenizer.
        """
        job, held_out = self._made(recipe.reward, self._own(recipe.reward_model)), None
        if recipe.reward.type != "scene" and base.resolution == SIZE and all(map(is_scene, prompts)):
            held_out = self._made(SceneReward(type="scene"))
        else:
            found = next((each for each in self._others(recipe.reward) if knows(self._folder(each), prompts)), None)
            held_out = self._made(ClipReward(type="clip", model=found.name), found) if found else None
        return Judges(job, held_out, None if held_out else NOBODY)

    def _own(self, posted: RewardModelEntry | None) -> RewardModelEntry | None:
        """The job's reward model as this endpoint has it: the same weights, wherever they lie."""
        if posted is None:
            return None
        here = self.catalogue.rewards.get(posted.name)
        if here is None or here.revision != posted.revision:
            raise JobFailure(
                f"the job was rewarded by {posted.name!r}, and this endpoint's catalogue has "
                f"{'another revision of it' if here else 'no such model'}: give every process the same catalogue",
                code="catalogue_changed",
            )
        return here

    def _others(self, own: Reward) -> Iterator[RewardModelEntry]:
        for name, entry in self.catalogue.rewards.items():
            if not (isinstance(own, ClipReward) and name == own.model) and bases.is_here(entry, self.cache):
                yield entry

    def _made(self, reward: Reward, entry: RewardModelEntry | None = None) -> Judge:
        folder = self._folder(entry) if entry else None
        return Judge(
            Late(lambda: make(reward, folder=folder, device=pick_device(self.device))), reward.model_dump(mode="json")
        )

    def _folder(self, entry: RewardModelEntry) -> Path:
        return bases.folder(entry, self.cache)


def knows(folder: Path, prompts: Sequence[str]) -> bool:
    """Whether a CLIP's tokenizer sees every prompt whole, and mostly as words."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise JobFailure(
            f"the reward model in {folder.name} has no tokenizer: {error}", code="reward_unloadable"
        ) from error
    lengths = [len(tokenizer(prompt, add_special_tokens=False).input_ids) for prompt in prompts]
    words = sum(len(prompt.split()) for prompt in prompts)
    return max(lengths) + 2 <= tokenizer.model_max_length and sum(lengths) <= TOKENS_A_WORD * words
