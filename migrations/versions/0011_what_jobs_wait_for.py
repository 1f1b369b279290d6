"""A queued job that no worker can take says so: what each worker offers, and the sentence made of it.

Revision: 0011. A process of the version before knows neither: its claims leave a sentence standing, which the steward takes back.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

MOMENT = sa.String(23).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("wait_reason", sa.Text()))
    op.create_table(
        "workers",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("words", sa.JSON(), nullable=False),
        sa.Column("any_model", sa.Boolean(), nullable=False),
        sa.Column("memory_gib", sa.Float(), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_workers"),
    )


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_column("jobs", "wait_reason")
