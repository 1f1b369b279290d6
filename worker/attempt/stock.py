"""Which of the catalogue's models this worker can stage now: it claims only jobs that need no others.

What is wrong with one worker (no folder, other weights, no way to the hub, another catalogue) must not end the jobs of a whole queue.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from service.adapters import hub
from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.offers import catalogue_words, model_word, unknown_model
from service.domain.recipes import Recipe
from worker.attempt.staging import NotStaged, is_folder

log = logging.getLogger(__name__)

Marks = frozenset[tuple[str, int, int]]
FIRST_WAIT, MOST_WAIT = 60.0, 3600.0
"""Seconds for which a model is not offered once it could not be had: twice as long each time in a row."""


@dataclass(frozen=True, slots=True)
class _Missed:
    """A model that could not be had the last `times`: not offered before `until`, of `clock`."""

    reason: str
    times: int
    until: float


class Stock:
    """The models of a catalogue, as this worker finds them now: what it can offer, and what it cannot, with the reason."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float] = monotonic) -> None:
        self._catalogue, self._clock = catalogue, clock
        self._other: dict[str, tuple[Path, Marks]] = {}
        self._missed: dict[str, _Missed] = {}
        self._told: dict[str, str] = {}

    def check(self, recipe: Recipe) -> None:
        """Raises NotStaged unless this worker knows the models as they were when the job was posted, as far as bits go."""
        if (unknown := unknown_model(recipe, self._catalogue)) is not None:
            what, found = unknown
            raise NotStaged(
                f"the job was posted with {what}, but this worker has {found}: give every process the same catalogue, or post "
                "the job again",
                code="catalogue_changed",
                retry=True,
            )

    def offered(self) -> frozenset[str]:
        """The words of the models that can be staged. What cannot is told in the log, once a reason."""
        places = dict(_places(self._catalogue))
        missing = {word: reason for word, folder in places.items() if (reason := self._fault(word, folder))}
        for word, reason in missing.items():
            if self._told.get(word) != reason:
                log.warning("jobs that need %s are left to other workers: %s", word, reason)
        self._told = missing
        return frozenset(places.keys() - missing.keys())

    def note_other_weights(self, entry: BaseModelEntry | RewardModelEntry) -> None:
        """The entry's folder has other weights than it pins: it is not offered until its files have changed."""
        folder = Path(entry.source)
        try:
            self._other[model_word(entry)] = folder, marks(folder)
        except OSError as error:
            self.note_missed(entry, f"the folder {folder} cannot be read ({error.strerror})")

    def note_missed(self, entry: BaseModelEntry | RewardModelEntry, reason: str) -> None:
        """The entry's model could not be had for a reason that may pass: it is not offered for a time that grows."""
        word = model_word(entry)
        times = self._missed[word].times + 1 if word in self._missed else 1
        wait = min(FIRST_WAIT * 2.0 ** (times - 1), MOST_WAIT)
        self._missed[word] = _Missed(reason, times, self._clock() + wait)

    def note_had(self, recipe: Recipe) -> None:
        """The recipe's models were all to be had."""
        for entry in (recipe.base, recipe.reward_model):
            if entry is not None:
                self._missed.pop(model_word(entry), None)

    def _fault(self, word: str, folder: Path | None) -> str | None:
        missed = self._missed.get(word)
        if missed is not None and self._clock() < missed.until:
            return f"{missed.reason}; it is tried again after a while"
        if folder is None:
            return None
        if not is_folder(folder):
            return f"there is no folder {folder} that can be read; check the catalogue's source, its rights, and what is mounted"
        if word in self._other:
            try:
                if self._other[word] == (folder, marks(folder)):
                    return f"the weights in {folder} are not those that the catalogue pins; put the right ones back"
            except OSError as error:
                return f"the folder {folder} cannot be read ({error.strerror}); see to its rights, and what is mounted"
            del self._other[word]
        return None


def marks(folder: Path) -> Marks:
    """Path, size and time of writing of each of a folder's weights: another set when somebody has replaced one. Raises OSError."""
    found = ((path, path.stat()) for path in folder.rglob("*.safetensors"))
    return frozenset((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found)


def _places(catalogue: Catalogue) -> Iterator[tuple[str, Path | None]]:
    """Each word with the folder that has to lie on the worker: None of what is fetched from the hub, and of what nobody can
    fetch, which fails its job with a sentence."""
    for word, entry in catalogue_words(catalogue):
        if word != model_word(entry):
            assert isinstance(entry, BaseModelEntry)
            yield word, Path(entry.preview_decoder)
        elif not entry.source.startswith(hub.PREFIX) and "://" not in entry.source:
            yield word, Path(entry.source)
        else:
            yield word, None
