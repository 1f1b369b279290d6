"""Receipts: which adapter versions are yet to get theirs, who asks for it, and the public keys."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.adapters.db.tables import adapter_versions, artifacts, receipts, signing_keys
from service.adapters.db.types import Later, Now
from service.domain.adapters import AdapterVersion
from service.domain.artifacts import Kind
from service.domain.errors import FenceLost
from service.domain.ids import Fence, JobId, TenantId
from service.domain.ports import Asked
from service.domain.receipts import PublicKey, ReceiptRow, StoredReceipt, Verdict

ITSELF = receipts.c.tenant_id, receipts.c.name, receipts.c.version


class ReceiptRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, tenant: TenantId, name: str, version: int) -> ReceiptRow | None:
        with_job = receipts.join(
            adapter_versions,
            and_(*(receipts.c[each] == adapter_versions.c[each] for each in ("tenant_id", "name", "version"))),
        )
        named = receipts.c.tenant_id == tenant, receipts.c.name == name, receipts.c.version == version
        statement = select(receipts, adapter_versions.c.job_id).select_from(with_job).where(*named)
        row = self._connection.execute(statement).one_or_none()
        return _row(row) if row else None

    def keys(self, tenant: TenantId) -> list[PublicKey]:
        theirs = select(signing_keys).where(signing_keys.c.tenant_id == tenant)
        rows = self._connection.execute(theirs.order_by(signing_keys.c.created_at.desc(), signing_keys.c.id))
        return [PublicKey(row.id, bytes.fromhex(row.public), row.created_at) for row in rows]


class ReceiptWrites(ReceiptRows):
    def await_one(self, version: AdapterVersion) -> None:
        itself = {"tenant_id": version.tenant, "name": version.name, "version": version.version}
        self._connection.execute(
            insert(receipts).values(**itself, created_at=Now(), tries=0, spent=0, not_before=Now())
        )

    def ask(self, tenant: TenantId, lease_seconds: float) -> Asked | None:
        """What somebody else is just taking is passed over; from here to the unit's end the row is held."""
        due = receipts.c.tenant_id == tenant, receipts.c.not_before <= Now()
        newest = (
            select(*ITSELF, receipts.c.tries, receipts.c.spent)
            .where(*due)
            .order_by(receipts.c.created_at.desc())
            .limit(1)
        )
        row = self._connection.execute(newest.with_for_update(skip_locked=True)).one_or_none()
        if row is None:
            return None
        asked = Asked(TenantId(row.tenant_id), row.name, row.version, row.tries, row.spent)
        tries, spent = asked.tries + 1, asked.spent + 1
        self._change(asked, tries=tries, spent=spent, not_before=Later(lease_seconds))
        return replace(asked, tries=tries, spent=spent)

    def renew(self, asked: Asked, lease_seconds: float) -> None:
        self._change(asked, not_before=Later(lease_seconds))

    def put_off(self, asked: Asked, error: str, wait_seconds: float | None, *, counts: bool = True) -> None:
        then = None if wait_seconds is None else Later(wait_seconds)
        self._change(asked, error=error, not_before=then, spent=asked.spent if counts else asked.spent - 1)

    def sign(self, asked: Asked, stored: StoredReceipt) -> None:
        signed = {"sha256": stored.sha256, "key_id": stored.key_id, "verdict": stored.verdict, "signed_at": Now()}
        place = {"file_fence": stored.fence, "file_name": stored.name}
        self._change(asked, not_before=None, error=None, **signed, **place)
        of_job = {"job_id": stored.job, "fence": stored.fence, "tenant_id": asked.tenant}
        file = {"name": stored.name, "kind": Kind.RECEIPT, "step": 0, "key": stored.key}
        content = {"bytes": stored.bytes, "sha256": stored.file_sha256}
        self._connection.execute(insert(artifacts).values(created_at=Now(), **of_job, **file, **content))

    def ask_again(self, tenant: TenantId, name: str | None = None, version: int | None = None) -> int:
        """Those that were given up; returns how many."""
        given_up = [receipts.c.tenant_id == tenant, receipts.c.not_before.is_(None), receipts.c.sha256.is_(None)]
        given_up += [receipts.c.name == name] if name is not None else []
        given_up += [receipts.c.version == version] if version is not None else []
        return self._connection.execute(update(receipts).where(*given_up).values(spent=0, not_before=Now())).rowcount

    def publish_key(self, tenant: TenantId, key_id: str, public: bytes) -> None:
        make = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        new = make(signing_keys).values(tenant_id=tenant, id=key_id, public=public.hex(), created_at=Now())
        self._connection.execute(new.on_conflict_do_nothing())

    def _change(self, asked: Asked, **values: Any) -> None:
        """Raises FenceLost where it was signed, or asked for again, since."""
        itself = (
            receipts.c.tenant_id == asked.tenant,
            receipts.c.name == asked.name,
            receipts.c.version == asked.version,
        )
        still = receipts.c.tries == asked.tries, receipts.c.not_before.is_not(None)
        if self._connection.execute(update(receipts).where(*itself, *still).values(**values)).rowcount != 1:
            raise FenceLost


def _row(row: Row[Any]) -> ReceiptRow:
    return ReceiptRow(
        tenant=TenantId(row.tenant_id), name=row.name, version=row.version, tries=row.tries, spent=row.spent,
        is_asked_for=row.not_before is not None, error=row.error,
        verdict=Verdict(row.verdict) if row.verdict else None, sha256=row.sha256, key_id=row.key_id,
        job=JobId(row.job_id), file_fence=Fence(row.file_fence) if row.file_fence else None, file_name=row.file_name,
        signed_at=row.signed_at,
    )  # fmt: skip
