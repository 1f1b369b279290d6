"""Idempotency keys, written in the transaction of what they guard."""

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from service.adapters.db.tables import idempotency
from service.adapters.db.types import Later, Now
from service.domain.ids import TenantId


class IdempotencyRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, tenant: TenantId, key: str) -> tuple[str, str] | None:
        known = select(idempotency.c.digest, idempotency.c.subject).where(
            idempotency.c.tenant_id == tenant, idempotency.c.key == key, idempotency.c.expires_at > Now()
        )
        row = self._connection.execute(known).one_or_none()
        return (row.digest, row.subject) if row else None


class IdempotencyWrites(IdempotencyRows):
    def take(self, tenant: TenantId, key: str, digest: str, subject: str, keep_seconds: float) -> bool:
        """One statement: insert, or overwrite a row that has expired. On PostgreSQL it waits for a rival's commit."""
        make = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        fresh = {"digest": digest, "subject": subject, "expires_at": Later(keep_seconds)}
        taken = make(idempotency).values(tenant_id=tenant, key=key, **fresh).on_conflict_do_update(
            index_elements=[idempotency.c.tenant_id, idempotency.c.key], set_=fresh,
            where=idempotency.c.expires_at <= Now(),
        )  # fmt: skip
        return self._connection.execute(taken.returning(idempotency.c.key)).one_or_none() is not None

    def forget_old(self) -> int:
        return self._connection.execute(delete(idempotency).where(idempotency.c.expires_at <= Now())).rowcount
