"""Beside a recipe with long lists of prompts stands what is shown of it, so that lists and watches never read megabytes.

Revision: 0009. NULL: the recipe itself is short, or a process of the version before wrote it; then that one is read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("brief", sa.JSON()))


def downgrade() -> None:
    op.drop_column("jobs", "brief")
