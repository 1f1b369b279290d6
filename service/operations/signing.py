"""The steward's side of receipts: have the inference endpoint measure what has no receipt yet, check what it says, sign it.

One at a time, the newest version first. The row's `tries` is a fence: of two stewards that came to measure the same
version, one after the other's lease was over, only the one that asked last can sign, and a receipt is signed once.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from service.domain.adapters import AdapterVersion
from service.domain.errors import FenceLost, StropError
from service.domain.ids import Fence
from service.domain.ports import Asked, Database, Measurer, Signer, Store
from service.domain.principals import LOCAL_TENANT
from service.domain.receipts import Receipt, SignedReceipt, StoredReceipt, statement
from service.operations import stowing

LEASE_SECONDS = 60.0
"""Of an asked receipt, renewed while it is measured: how long one waits whose steward died."""
TRIES = 5
FIRST_WAIT = 30.0
"""Seconds before the second try; doubles with each. An endpoint that is not there at all costs no try."""

log = logging.getLogger(__name__)


class NotWhatWasAsked(StropError):
    """The inference endpoint measured something else than it was asked for."""

    code = "receipt_mismatch"


class Stopping(StropError):
    """The steward was stopped meanwhile."""

    code = "stopping"


class Signing:
    def __init__(
        self,
        database: Database,
        store: Store,
        measurer: Measurer,
        signer: Signer,
        *,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database, self._store, self._measurer, self._signer = database, store, measurer, signer
        self._is_stopping = is_stopping
        self._is_published = False

    def turn(self) -> int:
        """Bring one receipt to its end; returns how many were signed. Raises Unavailable while the database is away."""
        self._publish_key()
        if not self._measurer.is_there():
            return 0
        with self._database.write() as unit:
            asked = unit.receipts.ask(LOCAL_TENANT, LEASE_SECONDS)
            version = unit.adapters.find(asked.tenant, asked.name, asked.version) if asked else None
        if asked is None or version is None:
            return 0
        try:
            receipt = self._measurer.measure(asked.reference, lambda: self._still(asked))
            _check(receipt, version)
            self._sign(asked, receipt, version)
        except FenceLost:
            log.info("the receipt of %s is another steward's now, or not wanted any more", asked.reference)
            return 0
        except Stopping as error:
            with self._database.write() as unit:
                unit.receipts.put_off(asked, error.message, 0.0)
            return 0
        except StropError as error:
            self._put_off(asked, error)
            return 0
        log.info("signed the receipt of %s: %s", asked.reference, receipt.verdict)
        return 1

    def _publish_key(self) -> None:
        """So that everybody can check what will be signed. Old keys stay."""
        if not self._is_published:
            with self._database.write() as unit:
                unit.receipts.publish_key(LOCAL_TENANT, self._signer.key_id, self._signer.public)
            self._is_published = True

    def _still(self, asked: Asked) -> None:
        if self._is_stopping():
            raise Stopping
        with self._database.write() as unit:
            unit.receipts.renew(asked, LEASE_SECONDS)

    def _put_off(self, asked: Asked, error: StropError) -> None:
        wait = None if asked.tries >= TRIES else FIRST_WAIT * 2 ** (asked.tries - 1)
        then = "given up" if wait is None else f"tried again in {wait:.0f} s"
        log.warning("the receipt of %s: %s; %s", asked.reference, error.message, then)
        with self._database.write() as unit:
            unit.receipts.put_off(asked, error.message, wait)

    def _sign(self, asked: Asked, receipt: Receipt, version: AdapterVersion) -> None:
        """Store the file and read it back, then its rows. The key of each try is its own: none overwrites another's file."""
        signed = seal(receipt, self._signer)
        content = signed.canonical()
        beside = PurePosixPath(version.manifest_key).parent
        name = f"receipt-{asked.tries}.json"
        file_sha256 = hashlib.sha256(content).hexdigest()
        with tempfile.TemporaryDirectory(prefix="strop-") as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            stowing.stow(self._store, str(beside / name), path, file_sha256)
        stored = StoredReceipt(
            job=version.job, fence=Fence(int(beside.name)), name=name, key=str(beside / name), bytes=len(content),
            file_sha256=file_sha256, sha256=signed.sha256, key_id=signed.key_id, verdict=receipt.verdict,
        )  # fmt: skip
        with self._database.write() as unit:
            unit.receipts.publish_key(asked.tenant, signed.key_id, self._signer.public)
            unit.receipts.sign(asked, stored)


def seal(receipt: Receipt, signer: Signer) -> SignedReceipt:
    """The receipt with its digest, signed."""
    sha256, key_id = receipt.sha256, signer.key_id
    return SignedReceipt(
        receipt=receipt, sha256=sha256, key_id=key_id, signature=signer.sign(statement(sha256, key_id))
    )


def _check(receipt: Receipt, version: AdapterVersion) -> None:
    """Raises NotWhatWasAsked: what is signed must be about this very file."""
    said = receipt.adapter, receipt.adapter_sha256, receipt.manifest_sha256, receipt.job, receipt.base_model
    known = version.reference, version.file.sha256, version.manifest_sha256, version.job, version.base_model
    if said != known:
        wrong = next(f"{one}, not {other}" for one, other in zip(said, known, strict=True) if one != other)
        raise NotWhatWasAsked(f"the inference endpoint measured {wrong}")
