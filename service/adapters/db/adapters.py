"""Adapters and their versions."""

from typing import Any

from sqlalchemy import Connection, Row, Select, and_, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.adapters.db.artifacts import read_artifact
from service.adapters.db.tables import adapter_versions, adapters, artifacts, jobs
from service.adapters.db.types import Now
from service.domain.adapters import AdapterVersion
from service.domain.artifacts import Artifact
from service.domain.ids import JobId, TenantId
from service.domain.jobs import State
from service.domain.ports import Held


class AdapterRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, tenant: TenantId, name: str, version: int | None) -> AdapterVersion | None:
        named = _versions().where(adapter_versions.c.tenant_id == tenant, adapter_versions.c.name == name)
        if version is not None:
            named = named.where(adapter_versions.c.version == version)
        row = self._connection.execute(named.order_by(adapter_versions.c.version.desc()).limit(1)).one_or_none()
        return _version(row) if row else None

    def all(self, tenant: TenantId, limit: int) -> list[AdapterVersion]:
        newest = adapter_versions.c.created_at.desc(), adapter_versions.c.job_id.desc()
        theirs = _versions().where(adapter_versions.c.tenant_id == tenant).order_by(*newest).limit(limit)
        return [_version(row) for row in self._connection.execute(theirs)]


class AdapterWrites(AdapterRows):
    def publish(self, job: Held, base_model: str, file: Artifact, manifest: Artifact, reason: str) -> AdapterVersion:
        name = self._connection.execute(select(jobs.c.adapter_name).where(jobs.c.id == job.id)).scalar_one()
        version = self._next_version(job.tenant, name)
        self._connection.execute(
            insert(adapter_versions).values(
                tenant_id=job.tenant, name=name, version=version, base_model=base_model, job_id=job.id,
                file_fence=file.fence, file_name=file.name, manifest_key=manifest.key, manifest_sha256=manifest.sha256,
                created_at=Now(),
            )
        )  # fmt: skip
        succeeded = {"state": State.SUCCEEDED, "lease_until": None, "seconds_left": None, "adapter_version": version}
        manifested = {"manifest_key": manifest.key, "manifest_sha256": manifest.sha256}
        stopped = {"stop_reason": reason}
        changed = {"version": jobs.c.version + 1, "updated_at": Now(), "untrimmed_since": Now()}
        self._connection.execute(
            update(jobs).where(jobs.c.id == job.id).values(**succeeded, **manifested, **stopped, **changed)
        )
        published = self.find(job.tenant, name, version)
        assert published is not None
        return published

    def _next_version(self, tenant: TenantId, name: str) -> int:
        """One statement makes the adapter or counts it up, and holds its row."""
        make = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        first = make(adapters).values(tenant_id=tenant, name=name, last_version=1)
        upsert = first.on_conflict_do_update(
            index_elements=[adapters.c.tenant_id, adapters.c.name], set_={"last_version": adapters.c.last_version + 1}
        )
        return int(self._connection.execute(upsert.returning(adapters.c.last_version)).scalar_one())


def _versions() -> Select[Any]:
    """Each version with the row of its file. Names that both have are the file's, unless labelled."""
    of_version = adapter_versions.c
    its_file = and_(
        artifacts.c.job_id == of_version.job_id,
        artifacts.c.fence == of_version.file_fence,
        artifacts.c.name == of_version.file_name,
    )
    its_job = jobs.c.id == of_version.job_id
    named = select(
        artifacts,
        of_version.name.label("adapter"),
        of_version.version,
        of_version.base_model,
        of_version.manifest_key,
        of_version.manifest_sha256,
        of_version.created_at.label("published_at"),
        jobs.c.recipe["start_adapter"].as_string().label("start"),
    )
    return named.select_from(adapter_versions.join(artifacts, its_file).join(jobs, its_job))


def _version(row: Row[Any]) -> AdapterVersion:
    return AdapterVersion(
        tenant=TenantId(row.tenant_id),
        name=row.adapter,
        version=row.version,
        base_model=row.base_model,
        job=JobId(row.job_id),
        file=read_artifact(row),
        manifest_key=row.manifest_key,
        manifest_sha256=row.manifest_sha256,
        created_at=row.published_at,
        start=row.start,
    )
