"""A base model's folder: where the catalogue says, or in the cache that this host's workers share."""

import subprocess
import sys
from pathlib import Path

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import JobFailure


def folder(entry: BaseModelEntry, cache: Path) -> Path:
    """Raises JobFailure with code base_unavailable. A hub model is downloaded at its pinned revision, once a host.

    The download is the worker's own program, run as one: the engine does not import the trainer's side.
    """
    if not entry.source.startswith("hub:"):
        if not Path(entry.source).is_dir():
            raise _unavailable(entry, "its folder is not on this machine; check the catalogue's source")
        return Path(entry.source)
    repository = entry.source.removeprefix("hub:")
    if not entry.revision:
        raise _unavailable(entry, "it names no revision; pin a commit in the catalogue")
    place = cache / "hub" / f"{repository.replace('/', '--')}@{entry.revision}"
    command = [sys.executable, "-m", "worker.attempt.fetch", repository, entry.revision, entry.kind, str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise _unavailable(entry, f"it could not be fetched from the hub: {last}")
    return place


def _unavailable(entry: BaseModelEntry, why: str) -> JobFailure:
    return JobFailure(f"The base model {entry.name} cannot be loaded: {why}.", code="base_unavailable")
