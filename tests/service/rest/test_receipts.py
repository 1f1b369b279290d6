"""Receipts on the gateway: how far one is with the model, the signed file byte for byte, and the public keys for everybody."""

from pathlib import Path

import pytest
from strop.verifying import verify

from service.adapters import db, keys, storage
from service.domain.errors import StropError
from service.domain.principals import LOCAL_TENANT
from service.domain.receipts import Receipt
from service.operations.attempts import Attempts
from service.operations.receipts import Receipts
from service.operations.signing import Signing
from service.settings import Settings
from tests.service.receipts import PlannedMeasurer, of_subject
from tests.service.rest.calls import Gateway
from tests.service.rest.test_models import deliver


@pytest.fixture
def red(gateway: Gateway, attempts: Attempts, tmp_path: Path) -> str:
    return deliver(gateway, attempts, tmp_path, "red-things")


def steward(settings: Settings, folder: Path, make: object = of_subject) -> Signing:
    database, store = db.connect(settings.database_url), storage.make(settings.store_url)
    measurer = PlannedMeasurer(Receipts(database, store), make)  # type: ignore[arg-type]
    return Signing(database, store, measurer, keys.generate(folder / "key.pem"))


def test_before_it_is_signed_the_model_says_how_far_it_is(
    gateway: Gateway, red: str, settings: Settings, tmp_path: Path
) -> None:
    told = gateway.get(f"/models/{red}").json()["receipt"]
    assert (told["stage"], told["verdict"]) == ("pending", None)
    missing = gateway.get(f"/models/{red}/receipt")
    assert (missing.status_code, missing.json()["code"]) == (404, "receipt_missing")
    assert "not been asked for yet" in missing.json()["detail"]
    steward(settings, tmp_path, lambda version: StropError("the device is broken")).turn()
    assert gateway.get(f"/models/{red}").json()["receipt"]["error"] == "the device is broken"
    assert "the device is broken" in gateway.get(f"/models/{red}/receipt").json()["detail"]


def test_signed_it_stands_beside_the_manifest_and_anybody_can_check_it(
    gateway: Gateway, red: str, settings: Settings, tmp_path: Path
) -> None:
    steward(settings, tmp_path).turn()
    model = gateway.get("/models/red-things").json()
    assert (model["receipt"]["stage"], model["receipt"]["verdict"]) == ("signed", "passed")
    answer = gateway.get(f"/models/{red}/receipt")
    assert answer.headers["Content-Type"] == "application/json"
    known = gateway.get("/.well-known/strop-keys", headers={"Authorization": ""})
    receipt = verify(answer.content, known.json())
    assert (receipt.adapter, receipt.sha256) == (red, model["receipt"]["sha256"])
    Receipt.model_validate(receipt.body)
    files = {each["kind"]: each for each in gateway.get(f"/jobs/{model['job']}/artifacts").json()["data"]}
    assert gateway.get(files["receipt"]["url"], headers={"Authorization": ""}).content == answer.content
    again = gateway.get(f"/models/{red}/receipt", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_a_name_that_moves_is_asked_about_anew_and_a_files_link_is_not(
    gateway: Gateway, attempts: Attempts, red: str, settings: Settings, tmp_path: Path
) -> None:
    signing = steward(settings, tmp_path)
    signing.turn()
    first = gateway.get("/models/red-things/receipt")
    deliver(gateway, attempts, tmp_path, "red-things")
    signing.turn()
    second = gateway.get("/models/red-things/receipt", headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.json()["receipt"]["adapter"]) == (200, "red-things@2")
    assert first.headers["Cache-Control"] == second.headers["Cache-Control"] == "private, no-cache"
    job = gateway.get(f"/models/{red}").json()["job"]
    (link,) = (
        each["url"] for each in gateway.get(f"/jobs/{job}/artifacts").json()["data"] if each["kind"] == "receipt"
    )
    assert "immutable" in gateway.get(link).headers["Cache-Control"]


def test_old_keys_stay(gateway: Gateway, settings: Settings) -> None:
    database = db.connect(settings.database_url)
    for name in ("one", "two", "one"):
        with database.write() as unit:
            unit.receipts.publish_key(LOCAL_TENANT, name, name.encode().ljust(32))
    database.close()
    known = gateway.get("/.well-known/strop-keys").json()["keys"]
    assert {each["kid"] for each in known} == {"one", "two"}
    assert {(each["kty"], each["crv"], each["alg"]) for each in known} == {("OKP", "Ed25519", "EdDSA")}


@pytest.mark.parametrize("name", ["nothing", "shapes", "..%2fx", "red@0"])
def test_of_no_adapter_is_404(gateway: Gateway, name: str) -> None:
    assert gateway.get(f"/models/{name}/receipt").status_code == 404


def test_needs_the_key(gateway: Gateway, red: str) -> None:
    assert gateway.get(f"/models/{red}/receipt", headers={"Authorization": ""}).status_code == 401
