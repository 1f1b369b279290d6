"""The outermost layer of both HTTP apps, plain ASGI so that streams pass through it untouched.

In order: a request id (the caller's X-Request-ID where it fits, else one of ours), the key or a link's token, the bound
on the body, and at the end whatever nobody caught: logged with the id, answered with a 500 that says nothing of the
inside. It stands before routing: a route that somebody forgets to protect does not exist.
"""

import hmac
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.domain.errors import PermissionDenied, StropError, TooLarge, Unauthenticated
from service.domain.principals import LOCAL, Principal
from service.wire import problems
from service.wire.links import Links

PUBLIC = frozenset({"/", "/healthz", "/readyz"})
PUBLIC_PREFIXES = ("/ui/", "/.well-known/")
"""Read without a key, by GET and HEAD only; `/` and `/ui/` are the status page's static files."""

MAX_BODY = 8 * 2**20
"""Bytes of a body where a route has no bound of its own. Longer lists of prompts go through POST /files."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
logger = logging.getLogger(__name__)


class ForeignHost(PermissionDenied):
    """Without a key this server answers its own machine only; set STROP_API_KEY to serve others."""

    code = "foreign_host"


@dataclass(frozen=True)
class Guard:
    """`app.add_middleware(Guard, key=…)`. Without a key: this machine only. `bounds`: path → bytes of its body.

    `statuses` and `respond` are those of `problems.install`, so that an app refuses in one shape at every depth.
    """

    app: ASGIApp
    key: str | None
    links: Links | None = None
    public: Callable[[str], bool] = lambda path: path in PUBLIC or path.startswith(PUBLIC_PREFIXES)
    bounds: Mapping[str, int] = field(default_factory=dict)
    statuses: problems.Statuses = field(default_factory=dict)
    respond: problems.Respond = problems.respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = request_id_of(headers.get("x-request-id", ""))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        began = False

        async def stamped(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = request_id
                out.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        async def refuse(response: Response) -> None:
            await response(scope, receive, stamped)

        try:
            bound = self.bounds.get(scope["path"], MAX_BODY)
            if scope["method"] not in ("GET", "HEAD") or not self.public(scope["path"]):
                state["principal"] = self.principal(scope, headers)
            _check_length(headers, bound)
            await self.app(scope, _bounded(receive, bound), stamped)
        except StropError as error:
            if began:
                raise
            table = {**problems.STATUSES, **self.statuses}
            await refuse(problems.from_error(error, request_id, table, self.respond))
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"], extra={"request_id": request_id})
            if began:  # the status is out: cutting the connection is the only true answer left
                raise
            await refuse(self.respond(problems.unexpected(request_id), None))

    def principal(self, scope: Scope, headers: Headers) -> Principal:
        """Who asks. Raises Unauthenticated; without a key, ForeignHost for what was not sent to this machine."""
        token = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token")
        if token and self.links and scope["method"] in ("GET", "HEAD"):
            return self.links.principal(scope["path"], token[-1])
        if self.key is None:
            _check_own_machine(headers)
            return LOCAL
        return principal_of(headers.get("authorization", ""), self.key)


def principal_of(authorization: str, key: str) -> Principal:
    """Whose key `Bearer KEY` holds, compared in constant time. Raises Unauthenticated."""
    scheme, _, given = authorization.partition(" ")
    fits = hmac.compare_digest(given.strip().encode(), key.encode())
    if scheme.lower() != "bearer" or not fits:
        raise Unauthenticated
    return LOCAL


def request_id_of(given: str) -> str:
    """The caller's id where it fits, else a new one."""
    return given if REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def _check_own_machine(headers: Headers) -> None:
    """Another site's page can make a browser post here, or rebind a name to 127.0.0.1: Host or Origin shows it."""
    for url in (f"//{headers.get('host', '')}", headers.get("origin", "//localhost")):
        if urlsplit(url).hostname not in LOOPBACK:
            raise ForeignHost


def _check_length(headers: Headers, bound: int) -> None:
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > bound:
        raise _too_large(bound)


def _bounded(receive: Receive, bound: int) -> Receive:
    """Counts what comes, for bodies that state no length."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > bound:
            raise _too_large(bound)
        return message

    return counted


def _too_large(bound: int) -> TooLarge:
    size = (
        f"{bound // 2**20} MiB" if bound >= 2**20 else f"{bound // 2**10} KiB" if bound >= 2**10 else f"{bound} bytes"
    )
    return TooLarge(f"The body is larger than {size}, the bound of this route.")
