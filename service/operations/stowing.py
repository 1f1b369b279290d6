"""Bringing a file into the store so that its row can be believed: upload, read back, compare."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from service.domain.artifacts import Artifact
from service.domain.errors import Damaged, StropError
from service.domain.outside import Store

log = logging.getLogger(__name__)
PIECE = 2**20


def digest_of(path: Path) -> tuple[int, str]:
    """(bytes, SHA-256) of a local file."""
    total, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            total.update(piece)
            size += len(piece)
    return size, total.hexdigest()


def stow(store: Store, key: str, path: Path, sha256: str) -> None:
    """Store a file whose digest is known, read it back whole, and raise Damaged unless the digest is the same."""
    store.put_file(key, path)
    total = hashlib.sha256()
    for piece in store.open(key):
        total.update(piece)
    if total.hexdigest() != sha256:
        raise Damaged(f"{key} was stored, but read back it has another digest; the store is not to be trusted")


def fetch(store: Store, key: str, path: Path, sha256: str) -> None:
    """Bring a stored file to `path` and raise Damaged, leaving nothing there, unless its digest is `sha256`."""
    store.get_file(key, path)
    if digest_of(path)[1] != sha256:
        path.unlink()
        raise Damaged(f"{key} does not match the digest that it was stored with")


def discard(store: Store, gone: Sequence[Artifact]) -> None:
    """Delete files whose rows are gone. A store that is away keeps them as orphans, which the steward finds later."""
    for artifact in gone:
        try:
            store.delete(artifact.key)
        except StropError as error:
            log.warning("%s has no row any more, but the store keeps it for now: %s", artifact.key, error.message)
