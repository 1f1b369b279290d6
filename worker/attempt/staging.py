"""What an attempt needs, put in place before its child starts: prompts, models, the checkpoint to go on from.

Models that are folders are used where they are; those of the hub come once a host into the worker's cache.
All that can be wrong here is a NotStaged failure with a sentence for the person who posted the job, or the operator.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.adapters import hub, weights
from service.adapters.weights import GoOn
from service.domain.catalogue import BaseModelEntry, RewardModelEntry
from service.domain.errors import JobFailure
from service.domain.recipes import Recipe

Entry = BaseModelEntry | RewardModelEntry
Download = Callable[[Sequence[str], Mapping[str, str]], tuple[int, str]]
"""Run a command with an environment to its end; its exit code and its last words."""


class NotStaged(JobFailure):
    """What the job needs is not to be had on this worker."""

    def __init__(self, message: str, *, code: str, retry: bool = False) -> None:
        super().__init__(message, code=code)
        self.retry = retry
        """Whether another try may help: a network may come back, a wrong entry stays wrong."""


class OtherWeights(NotStaged):
    """This worker's folder has other weights than the entry pins; another worker may have the right ones."""

    def __init__(self, message: str, entry: Entry) -> None:
        super().__init__(message, code="catalogue_changed", retry=True)
        self.entry = entry


class ModelUnavailable(NotStaged):
    """A model that this worker cannot have at present, for a reason that may pass and is not the job's: a network, a token, a disk."""

    code = "model_unavailable"

    def __init__(self, message: str, entry: Entry) -> None:
        super().__init__(message, code=self.code, retry=True)
        self.entry = entry


@dataclass(frozen=True, slots=True)
class Models:
    """Local folders."""

    base: Path
    reward: Path | None


def is_folder(path: Path) -> bool:
    """Not, too, where nobody may look: `Path.is_dir` raises there, or on a mount that is gone."""
    try:
        return path.is_dir()
    except OSError:
        return False


def stage_models(recipe: Recipe, cache: Path, download: Download, go_on: GoOn = lambda: None) -> Models:
    """Find or fetch the models of a recipe. Raises NotStaged with code base_unavailable or reward_unavailable, OtherWeights,
    ModelUnavailable, and whatever `go_on` raises, which is asked often where weights are hashed."""
    _check_preview_decoder(recipe)
    base = _place(recipe.base, cache, download, go_on)
    return Models(base, _place(recipe.reward_model, cache, download, go_on) if recipe.reward_model else None)


def _check_preview_decoder(recipe: Recipe) -> None:
    """First: a base may be a download of hours."""
    folder = Path(recipe.base.preview_decoder)
    if recipe.method.preview == "taesd" and not is_folder(folder):
        raise NotStaged(
            f"the preview decoder of {recipe.base.name!r} should be the folder {folder.name} on this worker, but there "
            'is none: put it where the catalogue says, or post the job again with method.preview "vae"',
            code="base_unavailable",
            retry=True,
        )


def _place(entry: Entry, cache: Path, download: Download, go_on: GoOn) -> Path:
    code = "base_unavailable" if entry.kind == "base" else "reward_unavailable"
    what = f"the {entry.kind} model {entry.name!r}"
    if entry.source.startswith(hub.PREFIX):
        return _from_hub(entry, cache, download, code, what)
    if "://" in entry.source:
        scheme = entry.source.split("://")[0]
        text = f"{what} lies at {scheme}://, which this version cannot fetch: use a folder or a hub source"
        raise NotStaged(text, code=code)
    folder = Path(entry.source)
    if not is_folder(folder):
        text = f"{what} should be a folder on this worker, but there is none: check the catalogue's source"
        raise NotStaged(text, code=code, retry=True)
    try:
        weights.check(entry, folder, go_on)
    except ValueError as error:
        raise OtherWeights(f"{what}: {error}", entry) from error
    except OSError as error:
        text = f"{what} cannot be read on this worker ({error.strerror}): see to its folder's rights and to what is mounted"
        raise ModelUnavailable(text, entry) from error
    return folder


def _from_hub(entry: Entry, cache: Path, download: Download, code: str, what: str) -> Path:
    try:
        fetch = hub.plan(entry, cache)
        if fetch.is_done:
            return fetch.folder
    except ValueError as error:
        raise NotStaged(f"{what}: {error}", code=code) from error
    except OSError as error:
        text = f"the cache of models on this worker cannot be read ({error.strerror}): see to STROP_CACHE_DIR"
        raise ModelUnavailable(text, entry) from error
    exit_code, last_words = download(fetch.command, os.environ)
    if exit_code == 0:
        return fetch.folder
    failed = (
        f"{what} could not be fetched from the hub ({fetch.repository}, revision {entry.revision[:12]}): "
        f"{last_words or exit_code}"
    )
    if exit_code == hub.LACKING:
        raise NotStaged(f"{failed}; check the name and the revision, then retry the job", code=code, retry=True)
    raise ModelUnavailable(f"{failed}; see to the worker's network, its HF_TOKEN and the disk of its cache", entry)
