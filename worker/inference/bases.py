"""A model's folder, of a base or a reward: where the catalogue says, or in the cache that this host's workers share."""

import subprocess
from pathlib import Path

from service.adapters import hub, weights
from service.domain.catalogue import BaseModelEntry, RewardModelEntry
from service.domain.errors import JobFailure

FETCH_SECONDS = 4 * 3600.0
"""For one download. It ends what hangs, not what is slow: what has come is kept, and the next try goes on from there."""


def folder(entry: BaseModelEntry | RewardModelEntry, cache: Path) -> Path:
    """Raises JobFailure `base_unavailable` or `reward_unavailable`. A hub model is downloaded at its pinned revision, once
    a host."""
    if not entry.source.startswith(hub.PREFIX):
        if "://" in entry.source:
            raise _unavailable(entry, "its source is one that this version cannot fetch; use a folder or a hub source")
        if not Path(entry.source).is_dir():
            raise _unavailable(entry, "its folder is not on this machine; check the catalogue's source")
        try:
            weights.check(entry, Path(entry.source))
        except (OSError, ValueError) as error:
            raise _unavailable(entry, str(error)) from error
        return Path(entry.source)
    try:
        fetch = hub.plan(entry, cache)
    except ValueError as error:
        raise _unavailable(entry, str(error)) from error
    if not fetch.is_done:
        try:
            done = subprocess.run(fetch.command, check=False, capture_output=True, text=True, timeout=FETCH_SECONDS)
        except subprocess.TimeoutExpired as error:
            late = f"the hub did not give it within {FETCH_SECONDS:.0f} s; look at the line to the hub, and ask again"
            raise _unavailable(entry, late) from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise _unavailable(entry, f"it could not be fetched from the hub: {last}")
    return fetch.folder


def is_here(entry: BaseModelEntry | RewardModelEntry, cache: Path) -> bool:
    """Whether its folder is on this machine, so that `folder` downloads nothing."""
    if entry.source.startswith(hub.PREFIX):
        return bool(entry.revision) and hub.plan(entry, cache).is_done
    return Path(entry.source).is_dir()


def _unavailable(entry: BaseModelEntry | RewardModelEntry, why: str) -> JobFailure:
    return JobFailure(f"The {entry.kind} model {entry.name} cannot be loaded: {why}.", code=f"{entry.kind}_unavailable")
