"""The door to Ed25519 (RFC 8032): the steward's signing key, made once, kept in a file that only its owner reads."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from service.domain.errors import StropError
from service.domain.receipts import thumbprint


class BadSigningKey(StropError):
    """The file of STROP_SIGNING_KEY_FILE holds no usable key."""

    code = "bad_signing_key"


class SigningKey:
    """The port Signer."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = thumbprint(self.public)

    def sign(self, statement: bytes) -> str:
        return self._private.sign(statement).hex()


def generate(path: Path) -> SigningKey:
    """A new key, in PEM (PKCS #8), readable by its owner only. Raises BadSigningKey where anything is there already."""
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadSigningKey(f"{path} is there already: a key is never overwritten, for receipts rest on it") from None
    except OSError as error:
        raise BadSigningKey(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return SigningKey(private)


def load(path: Path) -> SigningKey:
    """Raises BadSigningKey with the remedy, also for a file that everybody on this machine may read."""
    remedy = "make one with python -m service.manage keygen"
    try:
        if path.stat().st_mode & 0o007:
            raise BadSigningKey(f"{path} can be read by everybody here: chmod 600 {path}, or {remedy}")
        private = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise BadSigningKey(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadSigningKey(f"{path} holds no private key in PEM without a password: {remedy}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise BadSigningKey(f"{path} holds a key of another kind, not Ed25519: {remedy}")
    return SigningKey(private)
