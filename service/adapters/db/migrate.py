"""Bring a database to the newest schema. The steps stand in migrations/versions."""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config

from service.adapters.db.engine import SqlDatabase, translated

FOLDER = Path(__file__).resolve().parents[3] / "migrations"


@dataclass(frozen=True, slots=True)
class Patience:
    """How a migration waits on PostgreSQL: for a table's lock, so often, with a pause in which those behind it go on; and
    how often it looks whether another process is done migrating."""

    lock_seconds: float = 5.0
    tries: int = 20
    pause_seconds: float = 10.0
    look_seconds: float = 0.2


def upgrade(database: SqlDatabase, revision: str = "head", patience: Patience | None = None) -> None:
    """Run the missing migrations; what was committed of them stays. Of several processes that call it at once, one works.

    Raises Unavailable where a table stays in use for longer than the patience goes.
    """
    config = _config()
    config.attributes["engine"] = database.engine
    config.attributes["patience"] = patience or Patience()
    with translated():
        command.upgrade(config, revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    return config
