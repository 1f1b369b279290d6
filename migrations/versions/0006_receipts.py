"""Receipts of adapters' versions, one each, and the public keys by which they are checked. Versions that are there get theirs.

Revision: 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

MOMENT = sa.String(23).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def where(condition: str) -> dict[str, sa.TextClause]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "receipts",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("not_before", MOMENT),
        sa.Column("error", sa.Text()),
        sa.Column("verdict", sa.String(length=16)),
        sa.Column("sha256", sa.String(length=64)),
        sa.Column("key_id", sa.String(length=43)),
        sa.Column("file_fence", sa.Integer()),
        sa.Column("file_name", sa.String(length=128)),
        sa.Column("signed_at", MOMENT),
        sa.CheckConstraint("sha256 IS NULL OR not_before IS NULL", name="ck_receipts_signed_is_not_asked_for"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "name", "version"],
            ["adapter_versions.tenant_id", "adapter_versions.name", "adapter_versions.version"],
            name="fk_receipts_tenant_id_name_version_adapter_versions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "name", "version", name="pk_receipts"),
    )
    op.create_index("ix_receipts_pending", "receipts", ["tenant_id", "created_at"], **where("not_before IS NOT NULL"))
    op.create_table(
        "signing_keys",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=43), nullable=False),
        sa.Column("public", sa.String(length=64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_signing_keys"),
    )
    op.execute(
        "INSERT INTO receipts (tenant_id, name, version, created_at, tries, not_before) "
        "SELECT tenant_id, name, version, created_at, 0, created_at FROM adapter_versions"
    )


def downgrade() -> None:
    op.drop_table("signing_keys")
    op.drop_index("ix_receipts_pending", "receipts")
    op.drop_table("receipts")
