"""Receipts and the keys that check them, as they travel. The signed receipt itself goes out as it was stored, byte for byte."""

from typing import Literal

from pydantic import BaseModel, Field

from service.domain.receipts import PublicKey, ReceiptRow, Stage, Verdict, base64url
from service.wire.moments import Moment


class Receipt(BaseModel):
    """How far the receipt of an adapter's version is; the whole of it is at /models/{name}/receipt."""

    stage: Stage = Field(description="pending: to be measured. signed. given_up: after as many tries as are allowed.")
    verdict: Verdict | None = Field(description="passed: as many denoiser calls as the base, and not measurably worse.")
    sha256: str | None = Field(description="SHA-256 of the receipt's canonical bytes: what was signed.")
    key_id: str | None = Field(description="The key that signed it, among /.well-known/strop-keys.")
    signed_at: Moment | None
    error: str | None = Field(description="Why the last try brought none.")

    @classmethod
    def of(cls, row: ReceiptRow) -> "Receipt":
        return cls(
            stage=row.stage, verdict=row.verdict, sha256=row.sha256, key_id=row.key_id, signed_at=row.signed_at,
            error=row.error,
        )  # fmt: skip


class Key(BaseModel):
    """A public key as a JWK (RFC 7517, RFC 8037); `kid` is its thumbprint (RFC 7638)."""

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    alg: Literal["EdDSA"] = "EdDSA"
    use: Literal["sig"] = "sig"
    kid: str
    x: str = Field(description="The key's 32 bytes, base64url.")
    created_at: Moment

    @classmethod
    def of(cls, key: PublicKey) -> "Key":
        return cls(kid=key.id, x=base64url(key.raw), created_at=key.created_at)


class Keys(BaseModel):
    """Every key that ever signed a receipt here, the newest first."""

    keys: list[Key]
