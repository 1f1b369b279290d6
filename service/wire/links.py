"""Expiring HMAC tokens: a link that works without the key, for one path, one tenant and a while.

Token = `<expiry in Unix seconds>.<tenant>.<HMAC-SHA-256 over path, tenant and expiry, base64url>`. Nothing is stored;
a new secret ends all links that are out. A token opens GET and HEAD of its path only (the guard sees to that).
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from service.domain.errors import Unauthenticated
from service.domain.ids import TenantId
from service.domain.outside import Clock
from service.domain.principals import Principal

LIFETIME = 3600
"""Seconds that a link lasts unless its maker says otherwise."""


class LinkExpired(Unauthenticated):
    """The link has expired: list the artifacts again for a new one."""

    code = "link_expired"


class LinkInvalid(Unauthenticated):
    """The link's token does not fit its path: use links as they were given."""

    code = "link_invalid"


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and checks tokens."""

    secret: bytes
    clock: Clock

    def token(self, principal: Principal, path: str, lifetime: int = LIFETIME) -> tuple[str, int]:
        """(token, expiry) that open `path`, as the server sees it (percent-decoded), for `principal`'s tenant."""
        expiry = int(self.clock().timestamp()) + lifetime
        return f"{expiry}.{principal.tenant}.{self._sign(path, principal.tenant, expiry)}", expiry

    def principal(self, path: str, token: str) -> Principal:
        """Who may read `path` by this token. Raises LinkInvalid or LinkExpired."""
        try:
            expiry_text, rest = token.split(".", 1)
            tenant, signature = rest.rsplit(".", 1)
            expiry = int(expiry_text)
        except ValueError:
            raise LinkInvalid from None
        expected = self._sign(path, tenant, expiry)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise LinkInvalid
        if self.clock().timestamp() >= expiry:
            raise LinkExpired
        return Principal(TenantId(tenant), frozenset({"files", "jobs"}))

    def _sign(self, path: str, tenant: str, expiry: int) -> str:
        digest = hmac.new(self.secret, f"{expiry}\n{tenant}\n{path}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def secret(link_key: str | None, api_key: str | None) -> bytes:
    """The link key if there is one; else derived from the API key, so that restarts keep links; else made now."""
    if link_key:
        return link_key.encode()
    if api_key:
        return hmac.new(api_key.encode(), b"strop links", hashlib.sha256).digest()
    return secrets.token_bytes(32)
