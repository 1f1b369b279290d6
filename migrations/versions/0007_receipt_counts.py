"""What a receipt's tries have cost is counted apart from their number: the number is a fence, and never begins anew.

Revision: 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("receipts", sa.Column("spent", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE receipts SET spent = tries")


def downgrade() -> None:
    op.drop_column("receipts", "spent")
