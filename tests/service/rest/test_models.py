"""What callers may name: base models, adapters, rewards, methods; files and health stand here too."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.domain.artifacts import Kind
from service.domain.methods import METHODS, SharpeningRLHF
from service.operations.attempts import Attempts
from service.settings import Settings
from tests.service.rest.calls import OFFERS, Gateway


def deliver(gateway: Gateway, attempts: Attempts, folder: Path, name: str) -> str:
    """A job that succeeded; returns its adapter's reference."""
    job = gateway.new_job({"adapter_name": name})
    claim = attempts.claim("w1", None, OFFERS)
    assert claim is not None
    (folder / "adapter.safetensors").write_bytes(b"weights of " + job.encode())
    attempts.keep(
        claim.job.id, claim.job.fence, 60, Kind.ADAPTER, "adapter.safetensors", folder / "adapter.safetensors"
    )
    attempts.succeed(claim.job.id, claim.job.fence, training_nfe=10, training_fe=16.0, code_version="test")
    done = gateway.get(f"/jobs/{job}").json()
    assert done["state"] == "succeeded"
    return str(done["adapter"])


class TestModels:
    def test_lists_bases_without_their_places(self, gateway: Gateway) -> None:
        (base,) = gateway.get("/models").json()["data"]
        assert (base["object"], base["kind"], base["name"], base["family"]) == ("model", "base", "shapes", "sd")
        assert (base["num_inference_steps"], base["guidance_scale"], base["resolution"]) == (10, 2.0, 64)
        assert "source" not in base

    def test_lists_adapters_versions_and_resolves_names(
        self, gateway: Gateway, attempts: Attempts, tmp_path: Path
    ) -> None:
        made = [deliver(gateway, attempts, tmp_path, "red-things") for _ in range(2)]
        assert made == ["red-things@1", "red-things@2"]
        listed = gateway.get("/models").json()["data"]
        assert [each["name"] for each in listed] == ["shapes", "red-things@2", "red-things@1"]
        assert listed[1]["base_model"] == "shapes"
        whole = {"name": "red-things", "versions": [2, 1], "aliases": []}
        receipt = {"stage": "pending", **dict.fromkeys(("verdict", "sha256", "key_id", "signed_at", "error"))}
        assert gateway.get("/models/red-things").json() == {**listed[1], "adapter": whole, "receipt": receipt}
        assert gateway.get("/models/red-things@1").json() == {**listed[2], "adapter": whole, "receipt": receipt}
        assert gateway.get("/models/shapes").json() == listed[0]

    def test_of_no_model_is_404(self, gateway: Gateway) -> None:
        for name in ("nothing", "shapes@1", "red-things@0", "..%2fshapes"):
            assert gateway.get(f"/models/{name}").status_code == 404


class TestAliases:
    def test_are_made_moved_shown_and_taken_away(self, gateway: Gateway, attempts: Attempts, tmp_path: Path) -> None:
        for _ in range(2):
            deliver(gateway, attempts, tmp_path, "red-things")
        made = gateway.put_alias("red-things", "stable", {"version": 1})
        moved = gateway.put_alias("red-things", "stable", {"version": 2})
        assert (made.status_code, moved.status_code) == (201, 200)
        alias = moved.json()
        assert {**alias, "updated_at": ""} == {
            "object": "alias", "name": "red-things@stable", "alias": "stable", "version": 2, "needs_receipt": False,
            "updated_at": "",
        }  # fmt: skip
        shown = gateway.get("/models/red-things@stable").json()
        assert (shown["name"], shown["aliases"], shown["adapter"]["versions"]) == ("red-things@2", ["stable"], [2, 1])
        assert shown["adapter"]["aliases"] == [{name: each for name, each in alias.items() if name != "object"}]
        assert [each["aliases"] for each in gateway.get("/models").json()["data"]] == [[], ["stable"], []]
        gone = gateway.client.delete("/models/red-things/aliases/stable")
        assert gone.json() == {"object": "alias", "name": "red-things@stable", "deleted": True}
        assert gateway.get("/models/red-things@stable").status_code == 404

    def test_are_moved_once_under_one_key(self, gateway: Gateway, attempts: Attempts, tmp_path: Path) -> None:
        deliver(gateway, attempts, tmp_path, "red-things")
        for place in range(2):
            answer = gateway.put_alias("red-things", "stable", {"version": 1}, **{"Idempotency-Key": "k"})
            assert (answer.headers.get("Idempotent-Replayed") == "true") is bool(place)
        other = gateway.client.delete("/models/red-things/aliases/stable", headers={"Idempotency-Key": "k"})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    def test_to_a_version_without_its_receipt_is_409(
        self, gateway: Gateway, attempts: Attempts, tmp_path: Path
    ) -> None:
        deliver(gateway, attempts, tmp_path, "red-things")
        answer = gateway.put_alias("red-things", "stable", {"version": 1, "needs_receipt": True})
        assert (answer.status_code, answer.json()["code"]) == (409, "receipt_missing")


class TestDeleting:
    def test_takes_a_version_and_with_force_its_aliases(
        self, gateway: Gateway, attempts: Attempts, tmp_path: Path
    ) -> None:
        for _ in range(2):
            deliver(gateway, attempts, tmp_path, "red-things")
        gateway.put_alias("red-things", "stable", {"version": 1})
        refused = gateway.client.delete("/models/red-things@1")
        assert (refused.status_code, refused.json()["code"]) == (409, "adapter_has_alias")
        forced = {"params": {"force": "true"}, "headers": {"Idempotency-Key": "k"}}
        gone = [gateway.client.delete("/models/red-things@1", **forced) for _ in range(2)]
        assert [each.headers.get("Idempotent-Replayed") for each in gone] == [None, "true"]
        assert gone[0].json() == gone[1].json() == {"object": "model", "name": "red-things@1", "deleted": True}
        for name in ("red-things@1", "red-things@stable"):
            assert gateway.get(f"/models/{name}").status_code == 404
        other = gateway.client.delete("/models/red-things@1", headers={"Idempotency-Key": "k"})
        assert other.json()["code"] == "idempotency_key_reused"

    def test_while_a_job_begins_with_it_is_409(self, gateway: Gateway, attempts: Attempts, tmp_path: Path) -> None:
        deliver(gateway, attempts, tmp_path, "red-things")
        gateway.new_job({"start_adapter": "red-things"})
        refused = gateway.client.delete("/models/red-things")
        assert (refused.status_code, refused.json()["code"]) == (409, "adapter_in_use")


class TestRewards:
    def test_come_with_their_schemas(self, gateway: Gateway) -> None:
        rewards = {each["type"]: each for each in gateway.get("/rewards").json()["data"]}
        assert rewards.keys() == {"clip", "scene", "jpeg-compressibility"}
        assert rewards["clip"]["schema"]["required"] == ["type", "model"]
        assert rewards["jpeg-compressibility"]["schema"]["properties"]["quality"]["maximum"] == 100


class TestMethods:
    def test_give_every_hyper_parameter_its_words(self, gateway: Gateway) -> None:
        methods = {each["type"]: each["schema"]["properties"] for each in gateway.get("/methods").json()["data"]}
        assert len(methods) == len(METHODS)
        assert methods["sharpening-rlhf"].keys() == SharpeningRLHF.model_fields.keys()
        for name, each in (field for properties in methods.values() for field in properties.items()):
            assert name == "type" or ("default" in each and "description" in each)


class TestFiles:
    def test_are_told_by_their_id(self, gateway: Gateway) -> None:
        posted = gateway.post_file(b"a red circle\na blue square\n", "../prompts.txt")
        file = posted.json()
        assert posted.status_code == 201
        assert (file["object"], file["kind"], file["prompts"], file["filename"]) == ("file", "text", 2, "prompts.txt")
        assert gateway.get(f"/files/{file['id']}").json() == file
        assert gateway.get("/files/file_1").status_code == 404


class TestHealth:
    def test_is_told_to_everybody(self, gateway: Gateway) -> None:
        for path in ("/healthz", "/readyz"):
            assert gateway.get(path, headers={"Authorization": ""}).json() == {"status": "ok"}

    def test_readiness_asks_the_database(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STROP_DATABASE_URL", f"sqlite:///{tmp_path}")  # a folder cannot be opened
        with TestClient(create_app(Settings())) as client:
            answer = client.get("/readyz")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert "Retry-After" in answer.headers
            assert client.get("/healthz").status_code == 200
