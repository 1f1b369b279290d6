"""Receipts through the client: got from the real gateway, asked of an endpoint that takes its time."""

import json
from pathlib import Path

import pytest
import strop

from service.adapters import keys
from service.operations.receipts import Receipts
from service.operations.signing import Signing, seal
from tests.sdk.cli.conftest import Command
from tests.sdk.conftest import Gateway
from tests.sdk.servers import Reply, http_server
from tests.sdk.test_verifying import VERSION, jwks
from tests.service.receipts import PlannedMeasurer, measured, receipt_of

ASKED = "/v1/receipts"
POLLED = "/v1/receipts/rcpt_1"


def test_a_signed_one_is_got_kept_and_verified_without_the_service(
    at_gateway: Gateway, client: strop.Client, command: Command, tmp_path: Path
) -> None:
    at_gateway.begun(client, adapter_name="kept").succeed(tmp_path)
    early = command("receipts", "get", "kept")
    assert (early.code, "receipt_missing" in early.err) == (1, True)
    measurer = PlannedMeasurer(Receipts(at_gateway.database, at_gateway.store))
    key = keys.generate(tmp_path / "key.pem")
    assert Signing(at_gateway.database, at_gateway.store, measurer, key).turn() == 1
    kept, known = tmp_path / "receipt.json", tmp_path / "keys.json"
    assert "kept@1 on shapes: passed" in command("receipts", "get", "kept", "-o", kept).out
    known.write_text(command("receipts", "keys").out)
    assert client.receipts.verify(kept.read_bytes()).adapter == "kept@1"
    assert client.models.get("kept").receipt.verdict == "passed"  # type: ignore[union-attr]
    nowhere = ("--url", "http://127.0.0.1:1")
    assert command("receipts", "verify", kept, "--keys", known, *nowhere).code == 0
    assert command("receipts", "verify", kept, "--keys", f"{at_gateway.url}/.well-known/strop-keys", *nowhere).code == 0


class TestVerifyWithoutKeys:
    """The keys are asked for once, and kept: afterwards no network is needed."""

    KEYS = "/.well-known/strop-keys"

    @pytest.fixture
    def key(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> keys.SigningKey:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return keys.generate(tmp_path / "key.pem")

    def signed(self, key: keys.SigningKey, folder: Path) -> Path:
        file = folder / f"{key.key_id}.json"
        file.write_bytes(seal(receipt_of(VERSION), key).canonical())
        return file

    def test_needs_the_network_once(self, command: Command, key: keys.SigningKey, tmp_path: Path) -> None:
        file = self.signed(key, tmp_path)
        with http_server({self.KEYS: [Reply(body=jwks(key))]}) as http:
            at = ("--url", http.url)
            assert command("receipts", "verify", file, *at).code == 0
            assert command("receipts", "verify", file, *at).code == 0
            assert http.seen(self.KEYS) == 1
        assert command("receipts", "verify", file, *at).code == 0, "the server is gone"

    def test_asks_again_for_a_key_that_is_new(self, command: Command, key: keys.SigningKey, tmp_path: Path) -> None:
        new = keys.generate(tmp_path / "new.pem")
        with http_server({self.KEYS: [Reply(body=jwks(key)), Reply(body=jwks(new, key))]}) as http:
            for each in (key, new):
                assert command("receipts", "verify", self.signed(each, tmp_path), "--url", http.url).code == 0

    def test_trusts_no_other_gateways_keys(self, command: Command, key: keys.SigningKey, tmp_path: Path) -> None:
        file = self.signed(key, tmp_path)
        with (
            http_server({self.KEYS: [Reply(body=jwks(key))]}) as own,
            http_server({self.KEYS: [Reply(body={"keys": []})]}) as other,
        ):
            assert command("receipts", "verify", file, "--url", own.url).code == 0
            assert "not among the keys" in command("receipts", "verify", file, "--url", other.url).err

    @pytest.mark.parametrize("kept", ["", "[]", '{"keys": 1}'])
    def test_gets_over_a_kept_file_that_is_damaged(
        self, command: Command, key: keys.SigningKey, tmp_path: Path, kept: str
    ) -> None:
        file = self.signed(key, tmp_path)
        with http_server({self.KEYS: [Reply(body=jwks(key))]}) as http:
            assert command("receipts", "verify", file, "--url", http.url).code == 0
            (place,) = (tmp_path / "cache" / "strop").iterdir()
            place.write_text(kept)
            assert command("receipts", "verify", file, "--url", http.url).code == 0
            assert json.loads(place.read_bytes()) == jwks(key)


class TestAsk:
    RECEIPT = json.loads(receipt_of(VERSION).model_dump_json())

    def answer(self, status: str, **more: object) -> Reply:
        return Reply(202, {"id": "rcpt_1", "status": status, "receipt": None, "error": None, **more})

    def test_waits_for_the_measurement(self) -> None:
        done = self.answer("completed", receipt=self.RECEIPT)
        script = {ASKED: [self.answer("queued")], POLLED: [self.answer("in_progress"), done]}
        with http_server(script) as http, strop.Client(inference_url=http.url) as client:
            found = client.receipts.ask("red-things", ["a red circle"], [7])
            assert found == self.RECEIPT
            assert http.seen(POLLED) == 2
            assert json.loads(http.requests[0][2]) == {
                "adapter": "red-things",
                "prompts": ["a red circle"],
                "seeds": [7],
            }
            assert http.requests[1][1]["prefer"] == "wait=10"

    def test_raises_what_it_failed_with(self) -> None:
        failed = self.answer("failed", error={"code": "adapter_corrupt", "message": "it is damaged"})
        with (
            http_server({ASKED: [self.answer("queued")], POLLED: [failed]}) as http,
            strop.Client(inference_url=http.url) as client,
            pytest.raises(strop.StropError, match="it is damaged") as raised,
        ):
            client.receipts.ask("red-things")
        assert raised.value.code == "adapter_corrupt"

    def test_as_a_command_ends_by_the_verdict(
        self, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        dear = json.loads(receipt_of(VERSION, measured(ratio=1.05)).model_dump_json())
        (tmp_path / "prompts.txt").write_text("a red circle\n\na blue square\n")
        for receipt, code in ((self.RECEIPT, 0), (dear, 1)):
            done = self.answer("completed", receipt=receipt)
            with http_server({ASKED: [self.answer("queued")], POLLED: [done]}) as http:
                http.script["/.well-known/strop"] = [Reply(body={"inference_url": http.url})]
                monkeypatch.setenv("STROP_URL", http.url)
                said = command("receipts", "ask", "red-things", "--prompts", tmp_path / "prompts.txt", "--seed", 1)
                assert (said.code, "not signed" in said.out) == (code, True)
                (posted,) = (body for path, _, body in http.requests if path == ASKED)
                assert json.loads(posted)["prompts"] == ["a red circle", "a blue square"]
