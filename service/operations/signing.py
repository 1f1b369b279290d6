"""The steward's side of receipts: have the inference endpoint measure what has no receipt yet, check what it says, sign it.

One at a time, the newest version first. The row's `tries` is a fence that only ever grows: of two stewards that came to
measure the same version, one after the other's lease was over, only the one that asked last can sign, and a receipt is
signed once. Nothing that the endpoint says of what it measured is believed: `check` compares it with the database.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from service.domain import prompts as texts
from service.domain.adapters import AdapterVersion
from service.domain.errors import FenceLost, StropError
from service.domain.ids import Fence
from service.domain.outside import Measurer, Signer, Store
from service.domain.ports import Asked, Database
from service.domain.principals import LOCAL_TENANT, Principal
from service.domain.receipts import NotNow, Receipt, SignedReceipt, StoredReceipt, statement
from service.operations import stowing
from service.operations.receipts import Receipts, Subject

LEASE_SECONDS = 60.0
"""Of an asked receipt, renewed while it is measured: how long one waits whose steward died."""
TRIES = 5
"""That count: an endpoint that is not there, or says that it cannot now, costs none."""
FIRST_WAIT = 30.0
"""Seconds before the second try; doubles with each."""

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
        self._receipts, self._is_stopping = Receipts(database, store), is_stopping
        self._is_published = False

    def turn(self) -> int:
        """Bring one receipt to its end; returns how many were signed. Raises Unavailable while the database is away."""
        self._publish_key()
        if not self._measurer.is_there():
            return 0
        with self._database.write() as unit:
            asked = unit.receipts.ask(LOCAL_TENANT, LEASE_SECONDS)
        if asked is None:
            return 0
        try:
            receipt = self._brought(asked)
        except FenceLost:
            log.info("the receipt of %s is another steward's now, or not wanted any more", asked.reference)
            return 0
        if receipt is None:
            return 0
        log.info("signed the receipt of %s: %s", asked.reference, receipt.verdict)
        return 1

    def _brought(self, asked: Asked) -> Receipt | None:
        """The receipt once it is signed; None where it is put off. Raises FenceLost."""
        try:
            if asked.spent > TRIES:  # whoever had the last ones died of them, and could note nothing
                raise StropError("a steward died or lost its lease in each try")
            subject = self._receipts.subject(Principal(asked.tenant), asked.reference, None, None)
            receipt = self._measurer.measure(asked.reference, lambda: self._still(asked))
            check(receipt, subject)
            self._sign(asked, receipt, subject.version)
        except FenceLost:
            raise
        except Stopping as error:
            self._note(asked, error.message, 0.0, counts=False)
        except NotNow as error:
            self._note(asked, error.message, float(error.retry_after), counts=False)
        except StropError as error:
            self._put_off(asked, error.message)
        except Exception as error:
            log.exception("the receipt of %s: a fault of ours", asked.reference)
            self._put_off(asked, f"a fault of the steward's ({type(error).__name__}); its log has the reason")
        else:
            return receipt
        return None

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

    def _put_off(self, asked: Asked, why: str) -> None:
        wait = None if asked.spent >= TRIES else FIRST_WAIT * 2 ** (asked.spent - 1)
        then = "given up" if wait is None else f"tried again in {wait:.0f} s"
        log.warning("the receipt of %s: %s; %s", asked.reference, why, then)
        self._note(asked, why, wait)

    def _note(self, asked: Asked, why: str, wait: float | None, *, counts: bool = True) -> None:
        with self._database.write() as unit:
            unit.receipts.put_off(asked, why, wait, counts=counts)

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


def check(receipt: Receipt, subject: Subject) -> None:
    """What is signed must be about this very file, on its job's own base, prompts, seeds, setting, reward and cost, as the
    steward's database has them. Raises NotWhatWasAsked, with code `catalogue_changed` for another base."""
    version, base, drawing, spent = subject.version, subject.recipe.base, receipt.drawing, receipt.break_even
    reward = subject.recipe.reward.model_dump(mode="json")
    for what, said, known in (
        ("adapter", receipt.adapter, version.reference),
        ("file", receipt.adapter_sha256, version.file.sha256),
        ("manifest", receipt.manifest_sha256, version.manifest_sha256),
        ("job", receipt.job, version.job),
        ("base model", receipt.base_model, version.base_model),
        ("base model's revision", receipt.base_revision, base.revision),
        ("family", receipt.family, base.family),
        ("kind of prompts", drawing.prompts_from, subject.prompts_from),
        ("number of prompts", drawing.prompt_count, len(subject.prompts)),
        ("list of prompts", drawing.prompts_sha256, texts.digest(subject.prompts)),
        ("list of seeds", drawing.seeds, subject.seeds),
        ("number of pictures", sum(drawing.batch_sizes), len(subject.seeds)),
        ("number of steps", drawing.num_inference_steps, base.num_inference_steps),
        ("guidance", drawing.guidance_scale, base.guidance_scale),
        ("resolution", drawing.resolution, base.resolution),
        ("reward", receipt.reward.reward, reward),
        ("training_nfe", spent.training_nfe, subject.spent.training_nfe),
        ("training_fe", spent.training_fe, subject.spent.training_fe),
    ):
        if said != known:
            code = "catalogue_changed" if what.startswith("base model") else None
            raise NotWhatWasAsked(f"the endpoint measured another {what}: {said!s:.80}, not {known!s:.80}", code=code)
    if receipt.held_out and receipt.held_out.reward == reward:
        raise NotWhatWasAsked("the endpoint measured under the job's reward twice, and calls it held out")
