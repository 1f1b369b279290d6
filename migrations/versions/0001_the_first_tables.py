"""The first tables: a job's whole life, its files, adapters, idempotency; tenant_id everywhere.

Revision: 0001. A migration stands alone: it does not import the tables as they are today.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op  # op.f: the name is whole, and the naming convention leaves it alone

revision = "0001"
down_revision = None

MOMENT = sa.String(23).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "adapters",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_adapters"),
    )
    op.create_table(
        "files",
        sa.Column("id", sa.String(length=31), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("prompts", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sa.UniqueConstraint("key", name="uq_files_key"),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=30), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("adapter_name", sa.String(length=64), nullable=False),
        sa.Column("adapter_version", sa.Integer()),
        sa.Column("manifest_key", sa.Text()),
        sa.Column("manifest_sha256", sa.String(length=64)),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("not_before", MOMENT),
        sa.Column("lease_until", MOMENT),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("reward", sa.Float()),
        sa.Column("training_nfe", sa.BigInteger(), nullable=False),
        sa.Column("training_fe", sa.Float(), nullable=False),
        sa.Column("seconds_left", sa.Float()),
        sa.Column("error_code", sa.String(length=64)),
        sa.Column("error_message", sa.Text()),
        sa.CheckConstraint("(state = 'queued') = (not_before IS NOT NULL)", name=op.f("ck_jobs_queued_has_not_before")),
        sa.CheckConstraint(
            "(state = 'succeeded') = (adapter_version IS NOT NULL)", name=op.f("ck_jobs_succeeded_has_adapter")
        ),
        sa.CheckConstraint(
            "(state IN ('running', 'pausing', 'cancelling', 'finalizing')) = (lease_until IS NOT NULL)",
            name=op.f("ck_jobs_owned_has_lease"),
        ),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_owned", "jobs", ["lease_until", "tenant_id"], **where("lease_until IS NOT NULL"))
    op.create_index("ix_jobs_page", "jobs", ["tenant_id", "created_at", "id"])
    op.create_index(
        "ix_jobs_queued", "jobs", ["priority", "created_at", "not_before"], **where("not_before IS NOT NULL")
    )
    op.create_index("ix_jobs_state_page", "jobs", ["tenant_id", "state", "created_at", "id"])
    op.create_table(
        "artifacts",
        sa.Column("job_id", sa.String(length=30), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_artifacts_job_id_jobs"),
        sa.PrimaryKeyConstraint("job_id", "fence", "name", name="pk_artifacts"),
        sa.UniqueConstraint("key", name="uq_artifacts_key"),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.String(length=30), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=False),
        sa.Column("device", sa.String(length=255)),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("cause", sa.String(length=64)),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_attempts_job_id_jobs"),
        sa.PrimaryKeyConstraint("job_id", "fence", name="pk_attempts"),
    )
    op.create_index("ix_attempts_served", "attempts", ["tenant_id", "started_at"])
    op.create_table(
        "events",
        sa.Column("job_id", sa.String(length=30), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer()),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id_jobs"),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_events"),
    )
    op.create_table(
        "job_needs",
        sa.Column("job_id", sa.String(length=30), nullable=False),
        sa.Column("need", sa.String(length=128), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_needs_job_id_jobs"),
        sa.PrimaryKeyConstraint("job_id", "need", name="pk_job_needs"),
    )
    op.create_table(
        "adapter_versions",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("base_model", sa.String(length=128), nullable=False),
        sa.Column("job_id", sa.String(length=30), nullable=False),
        sa.Column("file_fence", sa.Integer(), nullable=False),
        sa.Column("file_name", sa.String(length=128), nullable=False),
        sa.Column("manifest_key", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "file_fence", "file_name"],
            ["artifacts.job_id", "artifacts.fence", "artifacts.name"],
            name="fk_adapter_versions_job_id_file_fence_file_name_artifacts",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_adapter_versions_job_id_jobs"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "name"],
            ["adapters.tenant_id", "adapters.name"],
            name="fk_adapter_versions_tenant_id_name_adapters",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "name", "version", name="pk_adapter_versions"),
        sa.UniqueConstraint("job_id", name="uq_adapter_versions_job_id"),
    )
    op.create_index("ix_adapter_versions_newest", "adapter_versions", ["tenant_id", "created_at"])


def downgrade() -> None:
    for table in (
        "adapter_versions", "job_needs", "events", "attempts", "artifacts", "jobs", "idempotency", "files", "adapters",
    ):  # fmt: skip
        op.drop_table(table)
