"""Bring a database to the newest schema, or say how far it is behind. The steps stand in migrations/versions."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from service.adapters.db.engine import SqlDatabase, translated

FOLDER = Path(__file__).resolve().parents[3] / "migrations"


def upgrade(database: SqlDatabase, revision: str = "head") -> None:
    """Run the missing migrations in one transaction. Of several processes that call it at once, one works."""
    with translated():
        command.upgrade(_config(database), revision)


def pending(database: SqlDatabase) -> bool:
    """True while the database lacks a migration that this code knows."""
    with translated(), database.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_heads()
    return set(current) != set(ScriptDirectory.from_config(_config(database)).get_heads())


def _config(database: SqlDatabase) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = database.engine
    return config
