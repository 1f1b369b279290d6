"""Where the faces are: the gateway's address is given, the others are asked of `GET /.well-known/strop`, once."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from strop.errors import StropError

SECURE = frozenset({"https", "grpcs"})
SCHEMES = frozenset({"http", "https", "grpc", "grpcs"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a gRPC channel goes: host:port, and whether by TLS."""

    address: str
    secure: bool


class Faces:
    """`ask` gets the gateway's answer; it is called when a face is first needed whose address nobody gave."""

    def __init__(
        self, url: str, grpc_url: str | None, inference_url: str | None, ask: Callable[[], dict[str, Any]]
    ) -> None:
        self.gateway = checked(url)
        self._grpc, self._inference = grpc_url, inference_url
        self._ask, self._lock = ask, threading.Lock()
        self._told: dict[str, Any] | None = None

    def grpc(self) -> Target:
        parts = urlsplit(checked(self._grpc or self._find("grpc")))
        secure = parts.scheme in SECURE
        return Target(f"{_host(parts.hostname)}:{parts.port or (443 if secure else 80)}", secure)

    def inference(self) -> str:
        return checked(self._inference or self._find("inference"))

    def _find(self, face: str) -> str:
        with self._lock:
            told = self._told = self._told or self._ask()
        if told.get(f"{face}_url"):
            return str(told[f"{face}_url"])
        if not told.get(f"{face}_port"):
            raise StropError(
                f"{self.gateway} does not say where its {face} face is; give {face}_url", code="unknown_face"
            )
        parts = urlsplit(self.gateway)
        return f"{parts.scheme}://{_host(parts.hostname)}:{told[f'{face}_port']}"


def checked(url: str) -> str:
    """The URL without a slash at its end; host:port alone is taken as http. Raises StropError with what is wrong."""
    whole = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(whole)
        fits = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits:
        raise StropError(f"{url!r} is not an address; write http://HOST:PORT", code="bad_url")
    return whole.rstrip("/")


def _host(name: str | None) -> str:
    return f"[{name}]" if name and ":" in name else str(name)
