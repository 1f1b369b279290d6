"""The public keys that `strop receipts verify` has met, kept for when no network is there: a file for each gateway.

A key never leaves a gateway's set and its id follows from its bytes, so a kept key is as good as a fetched one; the gateway is
asked where a receipt names a key that is not kept yet.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from strop.client import Client


def keys_for(client: Client, key_id: str) -> Mapping[str, Any]:
    """A JWK set that has the key, or is all that the gateway has. Raises StropError where that has to be asked and is away."""
    place = _place(client.receipts.gateway)
    kept = _read(place)
    if any(isinstance(each, Mapping) and each.get("kid") == key_id for each in kept["keys"]):
        return kept
    fetched = client.receipts.keys()
    _keep(place, fetched)
    return fetched


def _place(gateway: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "strop" / f"keys-{hashlib.sha256(gateway.encode()).hexdigest()[:16]}.json"


def _read(place: Path) -> Mapping[str, Any]:
    """An empty set where nothing is kept, or nothing that can be read."""
    try:
        kept = json.loads(place.read_bytes())
    except (OSError, ValueError):
        kept = None
    return kept if isinstance(kept, dict) and isinstance(kept.get("keys"), list) else {"keys": []}


def _keep(place: Path, keys: Mapping[str, Any]) -> None:
    """Whole or not at all; where nothing can be written, nothing is kept."""
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:
            json.dump(keys, file)
        Path(file.name).replace(place)
