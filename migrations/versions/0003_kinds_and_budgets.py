"""Jobs have a kind, a parent (of clones and certificates), the seconds spent in training, and a reason for their end.

Revision: 0003. A certificate succeeds without an adapter, so the check of what a succeeded job has is another. SQLite
cannot change a check: there the table is made anew from its own text, and its rows are put back.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = {
    "kind": "VARCHAR(16) NOT NULL DEFAULT 'sharpening'",
    "parent_id": "VARCHAR(30) CONSTRAINT fk_jobs_parent_id_jobs REFERENCES jobs (id)",
    "stop_reason": "VARCHAR(32)",
    "training_seconds": "FLOAT NOT NULL DEFAULT 0",
    "certificate": "JSON",
}
ADAPTER = ("ck_jobs_succeeded_has_adapter", "(state = 'succeeded') = (adapter_version IS NOT NULL)")
RESULT = (
    "ck_jobs_succeeded_has_result",
    "(state = 'succeeded') = (adapter_version IS NOT NULL OR certificate IS NOT NULL)",
)


def where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    for name, type in COLUMNS.items():
        op.execute(f"ALTER TABLE jobs ADD COLUMN {name} {type}")
    op.execute("UPDATE jobs SET stop_reason = 'completed' WHERE state = 'succeeded'")
    _change_check(ADAPTER, RESULT)
    op.create_index("ix_jobs_kind_page", "jobs", ["tenant_id", "kind", "created_at", "id"])
    op.create_index("ix_jobs_children", "jobs", ["parent_id", "created_at"], **where("parent_id IS NOT NULL"))


def downgrade() -> None:
    """Fails while there is a certificate that succeeded: before this revision there is no place for it."""
    op.drop_index("ix_jobs_children", "jobs")
    op.drop_index("ix_jobs_kind_page", "jobs")
    _change_check(RESULT, ADAPTER)
    for name in COLUMNS:
        op.execute(f"ALTER TABLE jobs DROP COLUMN {name}")


def _change_check(before: tuple[str, str], after: tuple[str, str]) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE jobs DROP CONSTRAINT {before[0]}")
        op.execute(f"ALTER TABLE jobs ADD CONSTRAINT {after[0]} CHECK ({after[1]})")
        return
    op.execute("PRAGMA defer_foreign_keys = ON")  # until the commit; the rows that point here find theirs again
    texts = op.get_bind().scalars(
        sa.text("SELECT sql FROM sqlite_master WHERE tbl_name = 'jobs' AND sql IS NOT NULL ORDER BY type DESC")
    ).all()  # fmt: skip
    op.execute("CREATE TABLE jobs_before AS SELECT * FROM jobs")
    op.execute("DROP TABLE jobs")
    for made in texts:
        op.execute(made.replace(before[0], after[0]).replace(before[1], after[1]))
    op.execute("INSERT INTO jobs SELECT * FROM jobs_before")
    op.execute("DROP TABLE jobs_before")
