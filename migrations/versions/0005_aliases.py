"""Aliases of adapters (`name@stable`); and adapters' files are found by their digest, for caches to ask what was deleted.

Revision: 0005. The foreign key keeps an alias from ever pointing to nothing, whoever deletes what.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

MOMENT = sa.String(23).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def where(condition: str) -> dict[str, sa.TextClause]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "adapter_aliases",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("alias", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("needs_receipt", sa.Boolean(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "name", "version"],
            ["adapter_versions.tenant_id", "adapter_versions.name", "adapter_versions.version"],
            name="fk_adapter_aliases_tenant_id_name_version_adapter_versions",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "name", "alias", name="pk_adapter_aliases"),
    )
    op.create_index("ix_artifacts_adapters", "artifacts", ["sha256"], **where("kind = 'adapter'"))


def downgrade() -> None:
    op.drop_index("ix_artifacts_adapters", "artifacts")
    op.drop_table("adapter_aliases")
