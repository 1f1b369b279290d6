"""The signing key: made once, checked before it is used, its id a thumbprint that anybody can make."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.adapters import keys
from service.domain.receipts import thumbprint


def test_signs_as_rfc_8032_has_it(tmp_path: Path) -> None:
    made = keys.generate(tmp_path / "key.pem")
    signature = keys.load(tmp_path / "key.pem").sign(b"a statement")
    ed25519.Ed25519PublicKey.from_public_bytes(made.public).verify(bytes.fromhex(signature), b"a statement")


def test_the_id_is_the_thumbprint_of_rfc_8037() -> None:
    """Its appendix A.3."""
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


PEM = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "cannot be read"),
        (b"no key", 0o600, "holds no private key"),
        (x25519.X25519PrivateKey.generate().private_bytes(*PEM), 0o600, "not Ed25519"),
        (ed25519.Ed25519PrivateKey.generate().private_bytes(*PEM), 0o644, "chmod 600"),
    ],
)
def test_a_bad_one_is_refused_with_the_remedy(tmp_path: Path, content: bytes | None, mode: int, said: str) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(keys.BadSigningKey, match=said) as refused:
        keys.load(path)
    assert "manage keygen" in refused.value.message


def test_where_there_is_no_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(keys.BadSigningKey, match="cannot be written"):
        keys.generate(tmp_path / "nowhere" / "key.pem")
