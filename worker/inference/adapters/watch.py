"""How an inference process learns that an adapter was deleted, anywhere: it asks the database which of those that it holds
still have a version. No message can be lost, no clock is compared, and a process that was down during the deletion asks for
the files on its disk when it is back. Every EVERY_SECONDS a query by an index for each AT_ONCE digests that it holds, none
while it holds nothing.

A request that names a deleted adapter is refused at once in any case: names are resolved by their rows. This is about what
is left in memory, on disk, in slots, and in names remembered for the time without a database. A request that has begun is
drawn to its end.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from service.domain.errors import StropError
from service.operations.models import Models
from worker.inference.adapters.cache import AdapterCache

EVERY_SECONDS = 2.0
log = logging.getLogger(__name__)

Forget = Callable[[str], None]
"""Drops whatever is held of the adapter with this SHA-256."""


class DeletionWatch:
    """`slotted`: the digests that lie in the engine's slots. `forget`: what holds something of adapters beside the cache."""

    def __init__(
        self,
        models: Models,
        cache: AdapterCache,
        slotted: Callable[[], Collection[str]],
        forget: Sequence[Forget],
        *,
        every: float = EVERY_SECONDS,
    ) -> None:
        self._models, self._cache, self._slotted, self._every = models, cache, slotted, every
        self._forget = (*forget, cache.evict)

    def look(self) -> set[str]:
        """Forget what was deleted; returns its digests. Raises Unavailable while the database is away."""
        slotted, held = set(self._slotted()), self._cache.keys()
        living = self._models.living(slotted | {sha256 for _, sha256 in held})
        gone = {sha256 for _, sha256 in held - living} | (slotted - {sha256 for _, sha256 in living})
        for sha256 in gone:
            log.info("the adapter with SHA-256 %s was deleted, and is forgotten", sha256)
            for forget in self._forget:
                forget(sha256)
        return gone

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look again and again, in a thread, until the block ends."""
        over = threading.Event()
        thread = threading.Thread(target=self._run, args=(over,), name="deletions", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _run(self, over: threading.Event) -> None:
        while not over.wait(self._every):
            try:
                self.look()
            except StropError as error:
                log.debug("deletions cannot be asked for at the moment: %s", error.message)
            except Exception:
                log.exception("looking for deletions failed")
