"""A signed receipt checked by itself: no service is asked, and nothing of what it says is believed before it is checked.

In order: the file is the one way of writing what it holds (sorted keys, no spare blanks, ASCII), so that there is no byte
in it that could be another; the receipt's SHA-256 is the one in the file; the key is known; the Ed25519 signature
(RFC 8032) of the digest and the key's id is the key's; the verdict follows from the figures, by the signer's own rules.
Needs the package `cryptography`: pip install 'strop[verify]'.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Never

from strop.errors import InvalidReceipt, StropError
from strop.records import Receipt

MAX_BYTES = 2**20
FORMAT = 1


def verify(content: bytes, keys: Mapping[str, Any]) -> Receipt:
    """The receipt in a signed file, by the keys of `/.well-known/strop-keys` (a JWK set). Raises InvalidReceipt.

    What it returns is genuine; whether the adapter passed is its `verdict`.
    """
    signed = _read(content)
    receipt, key_id, digest = signed["receipt"], signed["key_id"], signed["sha256"]
    found = hashlib.sha256(_canonical(receipt)).hexdigest()
    if digest != found:
        raise InvalidReceipt(f"the receipt was changed: its SHA-256 is {found}, and {digest} was signed", code="digest")
    _check_signature(_key(key_id, keys), signed["signature"], f"strop receipt {FORMAT}\n{key_id}\n{digest}\n".encode())
    _check_verdict(receipt)
    return Receipt(
        adapter=str(receipt["adapter"]), verdict=str(receipt["verdict"]), reasons=tuple(map(str, receipt["reasons"])),
        sha256=digest, key_id=key_id, body=receipt, content=content,
    )  # fmt: skip


def canonical_file(content: bytes) -> Mapping[str, Any]:
    """What is in a signed file, unchecked but for its form. Raises InvalidReceipt."""
    return _read(content)


def _read(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        _unreadable(f"it has {len(content):,} bytes")
    try:
        signed = json.loads(content.decode("ascii"), parse_constant=_unreadable)
    except (ValueError, RecursionError) as error:
        _unreadable(str(error))
    if not isinstance(signed, dict) or signed.keys() != {"format", "key_id", "receipt", "sha256", "signature"}:
        _unreadable("it is not the JSON that a Strop signs")
    if signed["format"] != FORMAT or not isinstance(signed["receipt"], dict):
        _unreadable(f"this version reads format {FORMAT}")
    if not all(isinstance(signed[name], str) for name in ("key_id", "sha256", "signature")):
        _unreadable("digest, key and signature are text")
    if _canonical(signed) != content:
        _unreadable(
            "it was written by another hand: a signed receipt has sorted keys, no spare blanks, no second spelling"
        )
    return signed


def _key(key_id: str, keys: Mapping[str, Any]) -> bytes:
    """The 32 bytes of a key whose id is their thumbprint (RFC 7638)."""
    known: Iterable[Any] = keys.get("keys") or ()
    for jwk in known:
        if isinstance(jwk, Mapping) and jwk.get("kid") == key_id and jwk.get("crv") == "Ed25519":
            text = str(jwk.get("x"))
            try:
                raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (binascii.Error, ValueError):
                raw = b""
            thumb = hashlib.sha256(_canonical({"crv": "Ed25519", "kty": "OKP", "x": text})).digest()
            if len(raw) == 32 and base64.urlsafe_b64encode(thumb).rstrip(b"=").decode() == key_id:
                return raw
            raise InvalidReceipt(f"the key {key_id} is not what its id says: get the keys again", code="bad_key")
    raise InvalidReceipt(
        f"it was signed with the key {key_id}, which is not among the keys given: get them where the receipt came from",
        code="unknown_key",
    )


def _check_signature(key: bytes, signature: str, statement: bytes) -> None:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise StropError(
            "checking signatures needs the package cryptography: pip install 'strop[verify]'", code="missing_package"
        ) from None
    try:
        raw = bytes.fromhex(signature)
        if raw.hex() != signature:
            raise ValueError("there is one way to write it")
        Ed25519PublicKey.from_public_bytes(key).verify(raw, statement)
    except (InvalidSignature, ValueError):
        raise InvalidReceipt(
            "the signature is not that key's: the receipt is a forgery, or damaged", code="signature"
        ) from None


def _check_verdict(receipt: Mapping[str, Any]) -> None:
    """Against a signer that says of an adapter what its figures do not say: passed is what has no fault, and each has its reason."""
    try:
        found, verdict, reasons = _faults(receipt), receipt["verdict"], receipt["reasons"]
    except (KeyError, TypeError, ValueError):
        _unreadable("figures are missing")
    if verdict not in ("passed", "failed") or not isinstance(reasons, list):
        _unreadable("its verdict is none")
    if (verdict == "passed") != (found == 0) or len(reasons) != found:
        raise InvalidReceipt(
            f"the verdict is {verdict} for {len(reasons)} reasons, and by the figures there are {found}", code="verdict"
        )


def _faults(receipt: Mapping[str, Any]) -> int:
    """How many rules the figures break, which are two: as many denoiser calls as the base, to the call; and not measurably
    worse under the job's reward, whose whole 95 % interval of the gain would lie below zero."""
    calls, gain = receipt["calls"], receipt["reward"]["gain_ci95"]
    base, adapter, ratio = (_number(calls[name]) for name in ("base", "adapter", "ratio"))
    _, high = (_number(each) for each in gain)
    return (adapter != base or ratio != 1.0) + (high < 0)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _unreadable("a figure is no number")
    return value


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _unreadable(why: str) -> Never:
    raise InvalidReceipt(f"this is no signed receipt: {why}", code="unreadable_receipt")
