"""Jobs that are there get what is shown of them, one by one; those whose whole recipe is short need none.

Revision: 0010. May be run again half-way.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

SHOWN = 32
SHORT = 4_000
"""Characters of a recipe that costs nothing to read whole."""
PORTION = 500

JOBS = sa.table("jobs", sa.column("id", sa.String()), sa.column("recipe", sa.JSON()), sa.column("brief", sa.JSON()))


def upgrade() -> None:
    connection = op.get_bind()
    beside_others = connection.dialect.name == "postgresql"
    each_alone: AbstractContextManager[Any] = op.get_context().autocommit_block() if beside_others else nullcontext()
    with each_alone:
        long = sa.func.length(sa.cast(JOBS.c.recipe, sa.Text())) > SHORT
        page = sa.select(JOBS.c.id).where(JOBS.c.id > sa.bindparam("after"), JOBS.c.brief.is_(sa.null()), long)
        after = ""
        while ids := connection.scalars(page.order_by(JOBS.c.id).limit(PORTION), {"after": after}).all():
            for id in ids:
                recipe = connection.scalar(sa.select(JOBS.c.recipe).where(JOBS.c.id == id))
                if brief := cut(recipe):
                    connection.execute(sa.update(JOBS).where(JOBS.c.id == id).values(brief=brief))
            after = ids[-1]


def cut(recipe: Any) -> dict[str, Any] | None:
    """The recipe with its lists of prompts cut; None where none is long, or what is stored is no recipe."""
    if not isinstance(recipe, dict):
        return None
    prompts, validation = recipe.get("prompts") or [], recipe.get("validation") or {}
    asked = validation.get("prompts") or []
    if max(len(prompts), len(asked)) <= SHOWN:
        return None
    brief = {**recipe, "validation_prompt_count": len(asked)}
    if prompts:
        brief["prompts"] = prompts[:SHOWN]
    if asked:
        brief["validation"] = {**validation, "prompts": asked[:SHOWN]}
    return brief


def downgrade() -> None:
    op.execute("UPDATE jobs SET brief = NULL WHERE brief IS NOT NULL")
