"""Artifacts: the row makes a file exist."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from service.adapters.db.tables import artifacts
from service.adapters.db.types import Now
from service.domain.artifacts import Artifact, Kind
from service.domain.ids import Fence, JobId, TenantId
from service.domain.ports import Held


class ArtifactRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, tenant: TenantId, job: JobId, kind: Kind | None = None) -> list[Artifact]:
        statement = select(artifacts).where(artifacts.c.job_id == job, artifacts.c.tenant_id == tenant)
        if kind is not None:
            statement = statement.where(artifacts.c.kind == kind)
        order = artifacts.c.step, artifacts.c.fence, artifacts.c.created_at, artifacts.c.name
        return [read_artifact(row) for row in self._connection.execute(statement.order_by(*order))]

    def find(self, tenant: TenantId, job: JobId, fence: Fence, name: str) -> Artifact | None:
        its_key = artifacts.c.job_id == job, artifacts.c.fence == fence, artifacts.c.name == name
        row = self._connection.execute(select(artifacts).where(*its_key, artifacts.c.tenant_id == tenant)).one_or_none()
        return read_artifact(row) if row else None


class ArtifactWrites(ArtifactRows):
    def add(self, job: Held, *, name: str, kind: Kind, step: int, key: str, bytes: int, sha256: str) -> Artifact:
        of_job = {"job_id": job.id, "fence": job.fence, "tenant_id": job.tenant}
        values = {"name": name, "kind": kind, "step": step, "key": key, "bytes": bytes, "sha256": sha256}
        written = insert(artifacts).values(created_at=Now(), **of_job, **values).returning(artifacts)
        return read_artifact(self._connection.execute(written).one())

    def remove(self, job: Held, gone: Sequence[Artifact]) -> None:
        for artifact in gone:
            its_key = (
                artifacts.c.job_id == job.id,
                artifacts.c.fence == artifact.fence,
                artifacts.c.name == artifact.name,
            )
            self._connection.execute(delete(artifacts).where(*its_key, artifacts.c.tenant_id == job.tenant))


def read_artifact(row: Row[Any]) -> Artifact:
    return Artifact(
        JobId(row.job_id), Fence(row.fence), row.step, Kind(row.kind), row.name, row.key, row.bytes, row.sha256,
        row.created_at,
    )  # fmt: skip
