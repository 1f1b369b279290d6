"""What operations ask of the world beside the database (ports.py), as Protocols: a store, a doorbell, a notifier, a signer, a measurer,
a clock. The adapters fulfil them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from service.domain.ids import JobId
from service.domain.receipts import Receipt


class Changes(Protocol):
    """What one watcher waits on."""

    async def wait(self) -> None:
        """Until the job may have changed since the last wait. Raises Unavailable once this process is stopping."""


class Notifier(Protocol):
    """Tells the watchers of this process that a job changed; it carries ids, and no watcher asks the database meanwhile."""

    def watch(self, job: JobId) -> AbstractContextManager[Changes]:
        """On the event loop only. No change after this call is missed; waking for nothing may happen."""


class Store(Protocol):
    """Files by key. Raises Damaged for a key that is not there, Unavailable when the store is away."""

    def put_file(self, key: str, path: Path) -> None:
        """Store a local file whole; readers see all of it or nothing."""

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in pieces."""

    def get_file(self, key: str, path: Path) -> None:
        """Copy to a local file, which appears whole or not at all."""

    def head(self, key: str) -> int | None:
        """Size in bytes; None if there is no such key."""

    def delete(self, key: str) -> None:
        """Deleting what is not there is no error."""

    def list(self, prefix: str) -> Iterator[str]: ...

    def ages(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """The same keys, each with the time at which it was last written, by the store's clock."""

    def forget_half_done(self, before: datetime) -> int:
        """Remove what writes that never came to their end left before then; returns how many."""

    def public_url(self, key: str, seconds: int) -> str | None:
        """A presigned link, where the operator made the store reachable; else None."""


class Doorbell(Protocol):
    def ring(self) -> None:
        """Wake idle workers, after the commit. Takes 500 ms at most and never raises: they look by themselves too."""


class Signer(Protocol):
    """Holds a private key, and never shows it."""

    key_id: str
    public: bytes

    def sign(self, statement: bytes) -> str:
        """An Ed25519 signature (RFC 8032) in lower-case hex."""


class Measurer(Protocol):
    """Has the inference endpoint measure adapters."""

    def is_there(self) -> bool:
        """Whether it takes work now."""

    def measure(self, reference: str, still: Callable[[], None]) -> Receipt:
        """Waits; `still` is called every few seconds meanwhile, and what it raises ends the wait.

        Raises NotNow where it cannot measure now and says nothing of the adapter; StropError.
        """


class Clock(Protocol):
    def __call__(self) -> datetime:
        """Now, in UTC: for what no lease depends on (expiring links)."""
