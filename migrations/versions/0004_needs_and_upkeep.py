"""A need may have an amount (memory); the steward finds what is old without reading a table: ended jobs, their checkpoints.

Revision: 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MOMENT = sa.String(23).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def where(condition: str) -> dict[str, sa.TextClause]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    op.add_column("job_needs", sa.Column("amount", sa.Float()))
    op.add_column("jobs", sa.Column("untrimmed_since", MOMENT))
    op.execute("UPDATE jobs SET untrimmed_since = updated_at WHERE state IN ('succeeded', 'failed', 'cancelled')")
    op.create_index("ix_jobs_untrimmed", "jobs", ["untrimmed_since"], **where("untrimmed_since IS NOT NULL"))
    op.create_index("ix_artifacts_checkpoints", "artifacts", ["created_at", "job_id"], **where("kind = 'checkpoint'"))


def downgrade() -> None:
    op.drop_index("ix_artifacts_checkpoints", "artifacts")
    op.drop_index("ix_jobs_untrimmed", "jobs")
    op.drop_column("jobs", "untrimmed_since")
    op.drop_column("job_needs", "amount")
