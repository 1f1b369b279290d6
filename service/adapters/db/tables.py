"""The tables. Every one has `tenant_id`. migrations/ makes them; a test compares the two.

Three columns of `jobs` are set exactly while they mean something, and their partial indexes keep the claim, the reaper and
the steward as cheap beside a million finished jobs as beside none: `not_before` while a job is queued, `lease_until` while
an attempt owns it, `untrimmed_since` from its end until the steward has removed what it said of each step. So does
`not_before` of `receipts`: while a receipt is still to be asked for.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
)

from service.adapters.db.types import Moment

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(30), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("adapter_name", String(64), nullable=False),
    Column("adapter_version", Integer),
    Column("manifest_key", Text),
    Column("manifest_sha256", String(64)),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("version", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("not_before", Moment),
    Column("lease_until", Moment),
    Column("event_count", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("reward", Float),
    Column("training_nfe", BigInteger, nullable=False),
    Column("training_fe", Float, nullable=False),
    Column("seconds_left", Float),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("kind", String(16), nullable=False),
    Column("parent_id", ForeignKey("jobs.id")),
    Column("stop_reason", String(32)),
    Column("training_seconds", Float, nullable=False),
    Column("certificate", JSON(none_as_null=True)),
    Column("untrimmed_since", Moment),
    Column("brief", JSON(none_as_null=True)),
    Column("wait_reason", Text),
    CheckConstraint("(state = 'queued') = (not_before IS NOT NULL)", name="queued_has_not_before"),
    CheckConstraint(
        "(state IN ('running', 'pausing', 'cancelling', 'finalizing')) = (lease_until IS NOT NULL)",
        name="owned_has_lease",
    ),
    CheckConstraint(
        "(state = 'succeeded') = (adapter_version IS NOT NULL OR certificate IS NOT NULL)", name="succeeded_has_result"
    ),
)
SHOWN = func.coalesce(jobs.c.brief, jobs.c.recipe, type_=JSON())
"""The recipe with its long lists cut (`brief`, which only recipes with such lists have). The whole one may have 8 MiB, and is
read by name only, to run, clone or certify a job."""

Index("ix_jobs_page", jobs.c.tenant_id, jobs.c.created_at, jobs.c.id)
Index("ix_jobs_state_page", jobs.c.tenant_id, jobs.c.state, jobs.c.created_at, jobs.c.id)
Index("ix_jobs_kind_page", jobs.c.tenant_id, jobs.c.kind, jobs.c.created_at, jobs.c.id)
for _name, _columns, _where in (
    ("ix_jobs_queued", (jobs.c.priority, jobs.c.created_at, jobs.c.not_before), jobs.c.not_before.is_not(None)),
    ("ix_jobs_owned", (jobs.c.lease_until, jobs.c.tenant_id), jobs.c.lease_until.is_not(None)),
    ("ix_jobs_untrimmed", (jobs.c.untrimmed_since,), jobs.c.untrimmed_since.is_not(None)),
    ("ix_jobs_children", (jobs.c.parent_id, jobs.c.created_at), jobs.c.parent_id.is_not(None)),
):
    Index(_name, *_columns, postgresql_where=_where, sqlite_where=_where)

job_needs = Table(
    "job_needs",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id), primary_key=True),
    Column("need", String(128), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("amount", Float),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id), primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("worker", String(255), nullable=False),
    Column("device", String(255)),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("cause", String(64)),
)
Index("ix_attempts_served", attempts.c.tenant_id, attempts.c.started_at)

events = Table(
    "events",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("step", Integer),
    Column("type", String(64), nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id), primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("step", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
)

_checkpoints = artifacts.c.kind == "checkpoint"
Index(
    "ix_artifacts_checkpoints",
    artifacts.c.created_at,
    artifacts.c.job_id,
    postgresql_where=_checkpoints,
    sqlite_where=_checkpoints,
)

_adapters = artifacts.c.kind == "adapter"
Index("ix_artifacts_adapters", artifacts.c.sha256, postgresql_where=_adapters, sqlite_where=_adapters)

files = Table(
    "files",
    metadata,
    Column("id", String(31), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("filename", String(255), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("prompts", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
)

adapters = Table(
    "adapters",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("last_version", Integer, nullable=False),
)

adapter_versions = Table(
    "adapter_versions",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("base_model", String(128), nullable=False),
    Column("job_id", ForeignKey(jobs.c.id), nullable=False),
    Column("file_fence", Integer, nullable=False),
    Column("file_name", String(128), nullable=False),
    Column("manifest_key", Text, nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("job_id"),
    ForeignKeyConstraint(["tenant_id", "name"], [adapters.c.tenant_id, adapters.c.name]),
    ForeignKeyConstraint(
        ["job_id", "file_fence", "file_name"], [artifacts.c.job_id, artifacts.c.fence, artifacts.c.name]
    ),
)
Index("ix_adapter_versions_newest", adapter_versions.c.tenant_id, adapter_versions.c.created_at)

adapter_aliases = Table(
    "adapter_aliases",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("alias", String(32), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("needs_receipt", Boolean, nullable=False),
    Column("updated_at", Moment, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "name", "version"],
        [adapter_versions.c.tenant_id, adapter_versions.c.name, adapter_versions.c.version],
    ),
)

receipts = Table(
    "receipts",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("created_at", Moment, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("spent", Integer, nullable=False, server_default="0"),
    Column("not_before", Moment),
    Column("error", Text),
    Column("verdict", String(16)),
    Column("sha256", String(64)),
    Column("key_id", String(43)),
    Column("file_fence", Integer),
    Column("file_name", String(128)),
    Column("signed_at", Moment),
    ForeignKeyConstraint(
        ["tenant_id", "name", "version"],
        [adapter_versions.c.tenant_id, adapter_versions.c.name, adapter_versions.c.version],
        ondelete="CASCADE",
    ),
    CheckConstraint("sha256 IS NULL OR not_before IS NULL", name="signed_is_not_asked_for"),
)
_pending = receipts.c.not_before.is_not(None)
Index(
    "ix_receipts_pending",
    receipts.c.tenant_id,
    receipts.c.created_at,
    postgresql_where=_pending,
    sqlite_where=_pending,
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("id", String(43), primary_key=True),
    Column("public", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("expires_at", Moment, nullable=False),
)
Index("ix_idempotency_expires_at", idempotency.c.expires_at)

workers = Table(
    "workers",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("words", JSON, nullable=False),
    Column("any_model", Boolean, nullable=False),
    Column("memory_gib", Float, nullable=False),
    Column("seen_at", Moment, nullable=False),
)
"""Who looked for work lately and what each offers, all of the operator's tenant: for telling what a queued job waits for. A claim
does not read it."""

installation = Table(
    "installation",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("id", String(32), nullable=False),
    Column("seen_at", Moment, nullable=False),
)
"""One row, of the operator's tenant: the mark that this database's store carries too."""
