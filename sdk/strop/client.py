"""`strop.Client`: one address and one key; what is where is asked of the gateway."""

import os
from importlib.metadata import version
from typing import Any

from strop.artifacts import Artifacts
from strop.catalogues import Methods, Models, Rewards
from strop.errors import Unauthenticated
from strop.files import Files
from strop.finding import Faces
from strop.images import Images
from strop.jobs import Jobs
from strop.receipts import Receipts
from strop.retrying import Retries
from strop.rpc import Rpc
from strop.web import Web

DEFAULT_URL = "http://127.0.0.1:8000"
AGENT = f"strop-python/{version('strop')}"


class Client:
    """A gateway's client; thread-safe; nothing is opened before it is needed.

    url, api_key: default STROP_URL (else http://127.0.0.1:8000) and STROP_API_KEY. An https URL means TLS on every face
    that the gateway finds for you. grpc_url (http://, https://, grpc:// or grpcs://HOST:PORT) and inference_url name a face
    that only you know how to reach. timeout: seconds for one try of a plain call. retries: how often a call that failed for
    a passing reason, and may be sent again without harm, is sent again.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        grpc_url: str | None = None,
        inference_url: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
    ) -> None:
        key = (api_key if api_key is not None else os.environ.get("STROP_API_KEY", "")).strip()
        if not (key.isascii() and (key.isprintable())):
            raise Unauthenticated("The key has characters that no header can carry.")
        policy = Retries(retries)
        self._web = Web(key or None, timeout, policy, AGENT)
        self._faces = Faces(url or os.environ.get("STROP_URL") or DEFAULT_URL, grpc_url, inference_url, self._ask)
        self._rpc = Rpc(self._faces.grpc, key or None, timeout, policy, AGENT)
        gateway = self._faces.gateway
        self.jobs = Jobs(self._rpc)
        self.models = Models(self._rpc)
        self.rewards = Rewards(self._rpc)
        self.methods = Methods(self._rpc)
        self.files = Files(self._web, gateway)
        self.artifacts = Artifacts(self._web, gateway)
        self.images = Images(self._web, self._faces.inference)
        self.receipts = Receipts(self._web, gateway, self._faces.inference)

    def close(self) -> None:
        """Close every connection."""
        self._rpc.close()
        self._web.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self) -> dict[str, Any]:
        told = self._web.get(f"{self._faces.gateway}/.well-known/strop")
        return told if isinstance(told, dict) else {}
