"""Which of the catalogue's models this worker can stage now: it claims only jobs that need no others.

What is wrong with one worker (no folder, other weights, another catalogue) must not end the jobs of a whole queue.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from service.adapters import hub
from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.offers import decoder_word, model_needs, model_word
from service.domain.recipes import Recipe
from worker.attempt.staging import NotStaged

log = logging.getLogger(__name__)

Marks = frozenset[tuple[str, int, int]]


class Stock:
    """The models of a catalogue, as this worker finds them now: what it can offer, and what it cannot, with the reason."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._other: dict[str, tuple[Path, Marks]] = {}
        self._told: dict[str, str] = {}

    def check(self, recipe: Recipe) -> None:
        """Raises NotStaged unless this worker knows the models as they were when the job was posted, as far as bits go."""
        known = dict(_words(self._catalogue))
        for word, posted in model_needs(recipe):
            if word in known:
                continue
            of_kind = self._catalogue.bases if posted.kind == "base" else self._catalogue.rewards
            found = "another entry of that name" if posted.name in of_kind else "no such entry"
            raise NotStaged(
                f"the job was posted with the catalogue's {posted.kind} model {posted.name!r}, but this worker has "
                f"{found}: give every process the same catalogue, or post the job again",
                code="catalogue_changed",
                retry=True,
            )

    def offered(self) -> frozenset[str]:
        """The words of the models that can be staged. What cannot is told in the log, once a reason."""
        missing = {word: reason for word, folder in _folders(self._catalogue) if (reason := self._fault(word, folder))}
        for word, reason in missing.items():
            if self._told.get(word) != reason:
                log.warning("jobs that need %s are left to other workers: %s", word, reason)
        self._told = missing
        return frozenset(word for word, _ in _words(self._catalogue) if word not in missing)

    def note_other_weights(self, entry: BaseModelEntry | RewardModelEntry) -> None:
        """The entry's folder has other weights than it pins: it is not offered until its files have changed."""
        folder = Path(entry.source)
        self._other[model_word(entry)] = folder, marks(folder)

    def _fault(self, word: str, folder: Path) -> str | None:
        if not folder.is_dir():
            return f"there is no folder {folder}; check the catalogue's source, and what is mounted"
        if word in self._other:
            if self._other[word] == (folder, marks(folder)):
                return f"the weights in {folder} are not those that the catalogue pins; put the right ones back"
            del self._other[word]
        return None


def marks(folder: Path) -> Marks:
    """Path, size and time of writing of each of a folder's weights: another set when somebody has replaced one."""
    found = ((path, path.stat()) for path in folder.rglob("*.safetensors"))
    return frozenset((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found)


def _words(catalogue: Catalogue) -> Iterator[tuple[str, BaseModelEntry | RewardModelEntry]]:
    for entry in (*catalogue.bases.values(), *catalogue.rewards.values()):
        yield model_word(entry), entry
        if isinstance(entry, BaseModelEntry) and entry.preview_decoder:
            yield decoder_word(entry), entry


def _folders(catalogue: Catalogue) -> Iterator[tuple[str, Path]]:
    """What has to lie on the worker; the hub's are fetched, and what nobody can fetch fails its job with a sentence."""
    for word, entry in _words(catalogue):
        if word != model_word(entry):
            assert isinstance(entry, BaseModelEntry)
            yield word, Path(entry.preview_decoder)
        elif not entry.source.startswith(hub.PREFIX) and "://" not in entry.source:
            yield word, Path(entry.source)
