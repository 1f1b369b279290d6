"""Adapters and their versions."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, exists, insert, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from service.adapters.db.artifacts import read_artifact
from service.adapters.db.tables import SHOWN, adapter_aliases, adapter_versions, adapters, artifacts, jobs
from service.adapters.db.types import Now
from service.domain.adapters import AdapterVersion, Alias, Which
from service.domain.artifacts import OF_THE_JOB, Artifact, Kind
from service.domain.ids import JobId, TenantId
from service.domain.jobs import State
from service.domain.ports import Held


class AdapterRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, tenant: TenantId, name: str, which: Which) -> AdapterVersion | None:
        named = _versions().where(adapter_versions.c.tenant_id == tenant, adapter_versions.c.name == name)
        if isinstance(which, str):
            pointed = select(adapter_aliases.c.version).where(*_named(tenant, name), adapter_aliases.c.alias == which)
            named = named.where(adapter_versions.c.version == pointed.scalar_subquery())
        elif which is not None:
            named = named.where(adapter_versions.c.version == which)
        row = self._connection.execute(named.order_by(adapter_versions.c.version.desc()).limit(1)).one_or_none()
        if row is None:
            return None
        return _version(row, (each.alias for each in self.aliases(tenant, name) if each.version == row.version))

    def all(self, tenant: TenantId, limit: int) -> list[AdapterVersion]:
        newest = adapter_versions.c.created_at.desc(), adapter_versions.c.job_id.desc()
        theirs = _versions().where(adapter_versions.c.tenant_id == tenant).order_by(*newest)
        aliases: dict[tuple[str, int], list[str]] = {}
        for row in self._connection.execute(select(adapter_aliases).where(adapter_aliases.c.tenant_id == tenant)):
            aliases.setdefault((row.name, row.version), []).append(row.alias)
        rows = list(self._connection.execute(theirs.limit(limit)))
        if len(rows) == limit and aliases:
            listed = {(row.adapter, row.version) for row in rows}
            older = theirs.where(exists().where(_POINTS))
            rows += [row for row in self._connection.execute(older) if (row.adapter, row.version) not in listed]
        return [_version(row, aliases.get((row.adapter, row.version), ())) for row in rows]

    def versions(self, tenant: TenantId, name: str) -> list[int]:
        theirs = adapter_versions.c.tenant_id == tenant, adapter_versions.c.name == name
        newest = select(adapter_versions.c.version).where(*theirs).order_by(adapter_versions.c.version.desc())
        return list(self._connection.scalars(newest))

    def aliases(self, tenant: TenantId, name: str) -> list[Alias]:
        theirs = select(adapter_aliases).where(*_named(tenant, name)).order_by(adapter_aliases.c.alias)
        return [_alias(row) for row in self._connection.execute(theirs)]

    def living(self, digests: Collection[str]) -> set[tuple[TenantId, str]]:
        of_version = select(adapter_versions.c.tenant_id, artifacts.c.sha256).join(artifacts, _ITS_FILE)
        named = of_version.where(artifacts.c.kind == Kind.ADAPTER, artifacts.c.sha256.in_(digests))
        return {(TenantId(row.tenant_id), row.sha256) for row in self._connection.execute(named)}


class AdapterWrites(AdapterRows):
    def hold(self, tenant: TenantId, name: str) -> bool:
        named = select(adapters.c.name).where(adapters.c.tenant_id == tenant, adapters.c.name == name)
        return self._connection.execute(named.with_for_update()).one_or_none() is not None

    def hold_version(self, tenant: TenantId, name: str, version: int) -> bool:
        of = adapter_versions.c
        named = select(of.version).where(of.tenant_id == tenant, of.name == name, of.version == version)
        return self._connection.execute(named.with_for_update(read=True, key_share=True)).one_or_none() is not None

    def point(self, tenant: TenantId, name: str, alias: str, version: int, *, needs_receipt: bool) -> None:
        whole = {"version": version, "needs_receipt": needs_receipt, "updated_at": Now()}
        itself = {"tenant_id": tenant, "name": name, "alias": alias}
        make = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        first = make(adapter_aliases).values(**itself, **whole)
        key = [adapter_aliases.c[column] for column in itself]
        self._connection.execute(first.on_conflict_do_update(index_elements=key, set_=whole))

    def unpoint(self, tenant: TenantId, name: str, alias: str) -> bool:
        gone = delete(adapter_aliases).where(*_named(tenant, name), adapter_aliases.c.alias == alias)
        return self._connection.execute(gone).rowcount == 1

    def seize(self, tenant: TenantId, name: str, version: int | None) -> list[AdapterVersion]:
        named = _versions().where(adapter_versions.c.tenant_id == tenant, adapter_versions.c.name == name)
        if version is not None:
            named = named.where(adapter_versions.c.version == version)
        held = named.order_by(adapter_versions.c.version).with_for_update(of=adapter_versions)
        aliases = self.aliases(tenant, name)
        return [
            _version(row, (each.alias for each in aliases if each.version == row.version))
            for row in self._connection.execute(held)
        ]

    def beginning(self, tenant: TenantId, references: Collection[str]) -> tuple[JobId, str] | None:
        """Three selects, each by an index: a list of states would read all jobs."""
        start = SHOWN["start_adapter"].as_string()
        named = select(jobs.c.id, start.label("start")).where(jobs.c.tenant_id == tenant, start.in_(references))
        going = (jobs.c.state == State.QUEUED, jobs.c.state == State.PAUSED, jobs.c.lease_until.is_not(None))
        row = self._connection.execute(union_all(*(named.where(each) for each in going)).limit(1)).one_or_none()
        return (JobId(row.id), row.start) if row else None

    def remove(self, tenant: TenantId, name: str, versions: Collection[int]) -> list[Artifact]:
        of = adapter_versions.c
        named = of.tenant_id == tenant, of.name == name, of.version.in_(versions)
        made = list(self._connection.scalars(delete(adapter_versions).where(*named).returning(of.job_id)))
        theirs = artifacts.c.job_id.in_(made), artifacts.c.kind.not_in(sorted(OF_THE_JOB))
        gone = self._connection.execute(delete(artifacts).where(*theirs).returning(artifacts))
        return [read_artifact(row) for row in gone]

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


_ITS_FILE = and_(
    artifacts.c.job_id == adapter_versions.c.job_id,
    artifacts.c.fence == adapter_versions.c.file_fence,
    artifacts.c.name == adapter_versions.c.file_name,
)
_POINTS = and_(
    adapter_aliases.c.tenant_id == adapter_versions.c.tenant_id,
    adapter_aliases.c.name == adapter_versions.c.name,
    adapter_aliases.c.version == adapter_versions.c.version,
)


def _named(tenant: TenantId, name: str) -> tuple[Any, Any]:
    return adapter_aliases.c.tenant_id == tenant, adapter_aliases.c.name == name


def _versions() -> Select[Any]:
    """Each version with the row of its file. Names that both have are the file's, unless labelled."""
    of_version = adapter_versions.c
    its_job = jobs.c.id == of_version.job_id
    named = select(
        artifacts,
        of_version.name.label("adapter"),
        of_version.version,
        of_version.base_model,
        of_version.manifest_key,
        of_version.manifest_sha256,
        of_version.created_at.label("published_at"),
        SHOWN["start_adapter"].as_string().label("start"),
        SHOWN["base", "revision"].as_string().label("base_revision"),
    )
    return named.select_from(adapter_versions.join(artifacts, _ITS_FILE).join(jobs, its_job))


def _version(row: Row[Any], aliases: Iterable[str] = ()) -> AdapterVersion:
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
        aliases=tuple(sorted(aliases)),
        base_revision=row.base_revision or "",
    )


def _alias(row: Row[Any]) -> Alias:
    return Alias(TenantId(row.tenant_id), row.name, row.alias, row.version, row.needs_receipt, row.updated_at)
