"""A signed receipt by itself: what the service signs is found genuine, and nothing else, whichever byte was changed."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strop.cli import main
from strop.errors import InvalidReceipt
from strop.verifying import verify

from service.adapters import keys
from service.domain.adapters import AdapterVersion
from service.domain.artifacts import Artifact, Kind
from service.domain.ids import Fence, JobId, TenantId
from service.domain.receipts import Memory, PublicKey, SignedReceipt, canonical, statement
from service.operations.signing import seal
from service.wire.receipts import Key, Keys
from tests.service.receipts import measured, receipt_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
JOB = JobId("job_" + "0" * 26)
FILE = Artifact(
    JOB, Fence(1), 60, Kind.ADAPTER, "adapter.safetensors", "jobs/x/1/adapter.safetensors", 9, "a" * 64, NOW
)
VERSION = AdapterVersion(
    TenantId("local"), "red-things", 1, "shapes", JOB, FILE, "jobs/x/1/manifest.json", "b" * 64, NOW
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> keys.SigningKey:
    return keys.generate(tmp_path_factory.mktemp("keys") / "key.pem")


@pytest.fixture(scope="module")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> keys.SigningKey:
    return keys.generate(tmp_path_factory.mktemp("keys") / "key.pem")


@pytest.fixture(scope="module")
def content(key: keys.SigningKey) -> bytes:
    return seal(receipt_of(VERSION), key).canonical()


def jwks(*those: keys.SigningKey) -> dict[str, Any]:
    """As the gateway tells them."""
    told = Keys(keys=[Key.of(PublicKey(each.key_id, each.public, NOW)) for each in those])
    read: dict[str, Any] = json.loads(told.model_dump_json())
    return read


def forged(content: bytes, key: keys.SigningKey, change: Callable[[dict[str, Any]], object], *, resign: bool) -> bytes:
    """The file with a change, its digest made anew; signed anew as well where the forger has the key."""
    signed = json.loads(content)
    change(signed["receipt"])

    signed["sha256"] = hashlib.sha256(canonical(signed["receipt"])).hexdigest()
    if resign:
        signed["signature"] = key.sign(statement(signed["sha256"], signed["key_id"]))
    return canonical(signed)


class TestVerify:
    def test_finds_what_the_service_signed_genuine(
        self, content: bytes, key: keys.SigningKey, other_key: keys.SigningKey
    ) -> None:
        receipt = verify(content, jwks(other_key, key))
        assert (receipt.adapter, receipt.verdict, receipt.key_id) == ("red-things@1", "passed", key.key_id)
        assert receipt.body["calls"]["ratio"] == 1.0

    def test_one_from_before_slots_were_told_apart_is_as_genuine(self, content: bytes, key: keys.SigningKey) -> None:
        assert b"slots_bytes" not in content
        assert verify(content, jwks(key)).body["memory"]["base_bytes"] == 1000
        assert SignedReceipt.model_validate_json(content).canonical() == content, "byte for byte, also to the service"
        new = measured().model_copy(
            update={"memory": Memory(base_bytes=1, adapter_bytes=3, slots_bytes=0, kind="device")}
        )
        told = verify(seal(receipt_of(VERSION, new), key).canonical(), jwks(key))
        assert told.body["memory"]["slots_bytes"] == 0

    def test_no_byte_can_be_another(self, content: bytes, key: keys.SigningKey) -> None:
        known = jwks(key)
        for place in range(len(content)):
            for bit in range(8):
                changed = bytearray(content)
                changed[place] ^= 1 << bit
                with pytest.raises(InvalidReceipt):
                    verify(bytes(changed), known)

    @given(st.data())
    def test_nor_can_bytes_come_or_go(self, content: bytes, key: keys.SigningKey, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(content)))
        gone = data.draw(st.integers(0, 3))
        come = data.draw(st.binary(max_size=3) | st.sampled_from([b" ", b"\n", b"0", b',"a":1']))
        changed = content[:place] + come + content[place + gone :]
        if changed != content:
            with pytest.raises(InvalidReceipt):
                verify(changed, jwks(key))

    @given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    def test_anything_else_is_refused_in_words(self, key: keys.SigningKey, changed: bytes) -> None:
        with pytest.raises(InvalidReceipt, match="no signed receipt"):
            verify(changed, jwks(key))

    def test_another_keys_signature_is_none(
        self, content: bytes, key: keys.SigningKey, other_key: keys.SigningKey
    ) -> None:
        with pytest.raises(InvalidReceipt) as unknown:
            verify(content, jwks(other_key))
        assert unknown.value.code == "unknown_key"
        by_another = json.loads(content) | {
            "signature": other_key.sign(statement(json.loads(content)["sha256"], key.key_id))
        }
        with pytest.raises(InvalidReceipt) as forgery:
            verify(canonical(by_another), jwks(key, other_key))
        assert forgery.value.code == "signature"

    def test_a_key_that_goes_by_anothers_id_is_found_out(
        self, content: bytes, key: keys.SigningKey, other_key: keys.SigningKey
    ) -> None:
        (known,) = jwks(other_key)["keys"]
        with pytest.raises(InvalidReceipt) as bad:
            verify(content, {"keys": [{**known, "kid": key.key_id}]})
        assert bad.value.code == "bad_key"

    def test_better_figures_are_found_out(self, content: bytes, key: keys.SigningKey) -> None:
        better = forged(content, key, lambda body: body["reward"].update(gain=0.9), resign=False)
        with pytest.raises(InvalidReceipt) as found:
            verify(better, jwks(key))
        assert found.value.code == "signature"

    def test_a_verdict_that_does_not_follow_is_refused_whoever_signed_it(
        self, content: bytes, key: keys.SigningKey
    ) -> None:
        dear = forged(content, key, lambda body: body["calls"].update(ratio=1.05), resign=True)
        with pytest.raises(InvalidReceipt) as found:
            verify(dear, jwks(key))
        assert found.value.code == "verdict"

    @pytest.mark.parametrize(
        "change",
        [
            {"reward": {"gain_ci95": [-0.5, -0.1]}},
            {"calls": {"base": 19.0}},
            {"calls": {"adapter": 21.0, "ratio": 1.05}},
            {"verdict": "failed"},
            {"reasons": ["it is blue"]},
            {"verdict": "failed", "reasons": ["it is blue"]},
        ],
    )
    def test_passed_is_what_breaks_no_rule_and_failed_what_does(
        self, content: bytes, key: keys.SigningKey, change: dict[str, Any]
    ) -> None:
        def changed(body: dict[str, Any]) -> None:
            for name, value in change.items():
                body[name] = {**body[name], **value} if isinstance(value, dict) else value

        with pytest.raises(InvalidReceipt) as found:
            verify(forged(content, key, changed, resign=True), jwks(key))
        assert found.value.code == "verdict"

    @pytest.mark.parametrize(
        "change",
        [
            {"reward": None}, {"calls": {}}, {"verdict": "perhaps"}, {"reasons": None}, {"reasons": ""},
            {"reward": {"gain_ci95": [0.1]}}, {"reward": {"gain_ci95": ["a", "b"]}},
            {"calls": {"base": True, "adapter": True, "ratio": True}},
        ],
    )  # fmt: skip
    def test_figures_that_are_none_are_refused(
        self, content: bytes, key: keys.SigningKey, change: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidReceipt) as found:
            verify(forged(content, key, lambda body: body.update(change), resign=True), jwks(key))
        assert found.value.code == "unreadable_receipt"

    @given(
        st.sampled_from([1.0, 1.05, 0.5]),
        st.floats(-1, 1),
        st.sampled_from(["passed", "failed"]),
        st.lists(st.just("it is blue"), max_size=3),
    )
    def test_has_the_signers_rules_and_no_other(
        self, key: keys.SigningKey, ratio: float, gain: float, verdict: str, reasons: list[str]
    ) -> None:
        """Whatever the figures: what the service would sign is genuine, and another verdict or number of reasons is not."""
        honest = receipt_of(VERSION, measured(ratio=ratio, gain=gain))
        said = {"verdict": verdict, "reasons": reasons}
        content = forged(seal(honest, key).canonical(), key, lambda body: body.update(said), resign=True)
        if (verdict, len(reasons)) == (honest.verdict, len(honest.reasons)):
            assert verify(content, jwks(key)).verdict == verdict
        else:
            with pytest.raises(InvalidReceipt) as found:
                verify(content, jwks(key))
            assert found.value.code == "verdict"


class TestCommand:
    """`strop receipts verify FILE --keys FILE`: no service is there."""

    def run(self, folder: Path, content: bytes, known: dict[str, Any]) -> int:
        (folder / "receipt.json").write_bytes(content)
        (folder / "keys.json").write_text(json.dumps(known))
        return main(["receipts", "verify", str(folder / "receipt.json"), "--keys", str(folder / "keys.json")])

    def test_ends_with_0_and_the_figures(
        self, content: bytes, key: keys.SigningKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(tmp_path, content, jwks(key)) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"genuine: red-things@1, signed with the key {key.key_id}")
        assert "1.000 ×" in said

    def test_ends_with_1_and_a_sentence_for_a_changed_byte(
        self, content: bytes, key: keys.SigningKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(tmp_path, content.replace(b'"gain":0.1', b'"gain":0.9', 1), jwks(key)) == 1
        assert capsys.readouterr().err.startswith("strop: the receipt was changed")

    def test_ends_with_1_for_another_key(
        self, content: bytes, other_key: keys.SigningKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(tmp_path, content, jwks(other_key)) == 1
        assert "not among the keys" in capsys.readouterr().err

    def test_ends_with_1_for_a_genuine_receipt_that_failed(
        self, key: keys.SigningKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        dear = seal(receipt_of(VERSION, measured(ratio=1.05)), key).canonical()
        assert self.run(tmp_path, dear, jwks(key)) == 1
        said = capsys.readouterr().out
        assert "genuine" in said
        assert "not 1.000 ×" in said

    @pytest.mark.parametrize("known", ["[]", "{}", "no json"])
    def test_ends_with_2_where_the_keys_are_none(self, content: bytes, tmp_path: Path, known: str) -> None:
        (tmp_path / "receipt.json").write_bytes(content)
        (tmp_path / "keys.json").write_text(known)
        words = ["receipts", "verify", str(tmp_path / "receipt.json"), "--keys", str(tmp_path / "keys.json")]
        assert main(words) == 2
