"""Idempotency-Key: a request that comes again under its key is answered with what it made or changed, and does nothing again.

Every verb that makes or changes something goes through `once`; no other place writes a key. The key's row is written in the
transaction of what it guards: either both are there or neither. Of fifty requests at once one writes, and the others wait
for its commit. Keys belong to a tenant and are remembered for a day.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from service.domain.errors import FieldError, InvalidRequest
from service.domain.ports import Database, WriteUnit
from service.domain.principals import Principal

KEEP_SECONDS = 24 * 3600.0
FIELD = "Idempotency-Key"
_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Keyed:
    """A request's key, and the digest of what was asked under it."""

    key: str
    digest: str


def keyed(key: str | None, path: str, body: bytes = b"", *, method: str = "POST") -> Keyed | None:
    """`method` and `path` as REST has them, whichever face was asked. Raises InvalidRequest for a key that is none."""
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        remedy = "send 1 to 255 printable ASCII characters"
        wrong = FieldError(FIELD, "the key is empty, too long or not printable", remedy)
        raise InvalidRequest(wrong.message, errors=(wrong,), code="invalid_idempotency_key")
    return Keyed(key, hashlib.sha256(f"{method} {path}\n".encode() + body).hexdigest())


def known(database: Database, principal: Principal, request: Keyed | None) -> str | None:
    """The id of what this very request made or changed before. Raises InvalidRequest where the key was another's."""
    if request is None:
        return None
    with database.read() as unit:
        found = unit.idempotency.find(principal.tenant, request.key)
    if found is None:
        return None
    digest, subject = found
    if digest != request.digest:
        remedy = "send the same body to the same address as before, or use a new key for a new request"
        wrong = FieldError(FIELD, "the key was used with another body or address", remedy)
        raise InvalidRequest(wrong.message, errors=(wrong,), code="idempotency_key_reused")
    return subject


def once(
    database: Database, principal: Principal, request: Keyed | None, subject: str, write: Callable[[WriteUnit], object]
) -> tuple[str, bool]:
    """`write` in one transaction with the key; (id of what was made or changed, was that done by an earlier request).

    `subject`: the id that this request would make or change. What `write` raises takes the key back with it.
    """
    with database.write() as unit:
        fresh = request is None or unit.idempotency.take(
            principal.tenant, request.key, request.digest, subject, KEEP_SECONDS
        )
        if fresh:
            write(unit)
            return subject, False
    before = known(database, principal, request)
    assert before is not None, "a key that is taken is found"
    return before, True
