"""What inference keeps for a while: pictures that were asked for as links, and answers of asynchronous requests.

No row names them: the key is the name, `drawn/<tenant>/<id>.<what>`, so they work while the database is away, and whoever
has the id finds them on every replica. They are removed by the age that the store gives them: writing one again keeps it.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from time import monotonic

from service.domain.ids import TenantId
from service.domain.outside import Clock, Store

PREFIX = "drawn/"
TURN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DrawnFiles:
    """Raises Damaged for what is not there (any more), Unavailable while the store is away."""

    store: Store

    def put(self, tenant: TenantId, name: str, data: bytes) -> None:
        """Readers see all of it or nothing; there was one before, and it is replaced."""
        with tempfile.TemporaryDirectory(prefix="strop-drawn-") as folder:
            path = Path(folder) / "whole"
            path.write_bytes(data)
            self.store.put_file(_key(tenant, name), path)

    def read(self, tenant: TenantId, name: str) -> bytes:
        return b"".join(self.store.open(_key(tenant, name)))

    def has(self, tenant: TenantId, name: str) -> bool:
        return self.store.head(_key(tenant, name)) is not None

    def remove(self, tenant: TenantId, name: str) -> None:
        self.store.delete(_key(tenant, name))

    def public_url(self, tenant: TenantId, name: str, seconds: int) -> str | None:
        """A link to the store itself, where the operator made it reachable."""
        return self.store.public_url(_key(tenant, name), seconds)


def remove_expired(store: Store, keep_seconds: float, clock: Clock, seconds: float = TURN_SECONDS) -> int:
    """Remove what was last written so long ago, for a while; returns how many are gone."""
    until = monotonic() + seconds
    gone = 0
    for key in _older(store, keep_seconds, clock):
        store.delete(key)
        gone += 1
        if monotonic() >= until:
            break
    return gone


def _older(store: Store, keep_seconds: float, clock: Clock) -> Iterator[str]:
    before = clock() - timedelta(seconds=keep_seconds)
    found = (key for key, written_at in store.ages(PREFIX) if written_at < before)
    while portion := list(islice(found, 1000)):  # a store may not like deletes in the middle of its listing
        yield from portion


def _key(tenant: TenantId, name: str) -> str:
    return f"{PREFIX}{tenant}/{name}"
