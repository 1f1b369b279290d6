"""`client.receipts`: what adapters do beside their base models: signed, from the gateway; or measured anew, unsigned."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from strop.errors import StropError
from strop.records import Receipt
from strop.verifying import canonical_file, verify
from strop.web import Web

LONGEST_SECONDS = 3600.0
WAIT_SECONDS = 10
"""How long the endpoint is asked to hold an answer back for news (RFC 7240, wait)."""


class Receipts:
    """Receipts."""

    def __init__(self, web: Web, gateway: str, endpoint: Callable[[], str]) -> None:
        self._web, self.gateway, self._endpoint = web, gateway, endpoint

    def get(self, adapter: str) -> Receipt:
        """The signed receipt of an adapter's version, as it is stored. It is not checked: hand it to `verify`.

        Raises NotFound with code receipt_missing, which says how far it is.
        """
        content = self._web.content(f"{self.gateway}/models/{quote(adapter, safe='@')}/receipt")
        signed = canonical_file(content)
        body = signed["receipt"]
        return Receipt(
            adapter=str(body.get("adapter")), verdict=str(body.get("verdict")), reasons=tuple(body.get("reasons") or ()),
            sha256=signed["sha256"], key_id=signed["key_id"], body=body, content=content,
        )  # fmt: skip

    def keys(self) -> dict[str, Any]:
        """The public keys that check receipts, as a JWK set. Keep them: with them a receipt is checked without the service."""
        keys = self._web.get(f"{self.gateway}/.well-known/strop-keys")
        if not isinstance(keys, dict):
            raise StropError("the gateway does not tell its keys as Strop does", code="unreadable_answer")
        return keys

    def verify(self, content: bytes, keys: Mapping[str, Any] | None = None) -> Receipt:
        """A signed file checked by `keys`, by default the gateway's own. Raises InvalidReceipt (code says what is wrong)."""
        return verify(content, self.keys() if keys is None else keys)

    def ask(
        self, adapter: str, prompts: Sequence[str] | None = None, seeds: Sequence[int] | None = None
    ) -> Mapping[str, Any]:
        """Have the inference endpoint measure an adapter now, and wait for it: what it says is not signed.

        seeds: one for each picture, as many for each prompt as for the others; picture i is of prompt i modulo their number.
        By default those that the service's own receipts are measured on.
        """
        url = f"{self._endpoint()}/v1/receipts"
        asked = {"adapter": adapter, "prompts": prompts, "seeds": seeds}
        body = {name: value for name, value in asked.items() if value is not None}
        answer = self._web.post(url, json=body)
        answer = self._web.poll(f"{url}/{answer['id']}", wait=WAIT_SECONDS, longest=LONGEST_SECONDS, done=_ended)
        if answer["status"] != "completed":
            error = answer.get("error") or {}
            raise StropError(str(error.get("message")), code=str(error.get("code") or "receipt_failed"))
        receipt: Mapping[str, Any] = answer["receipt"]
        return receipt


def _ended(answer: Any) -> bool:
    return answer["status"] not in ("queued", "in_progress")
