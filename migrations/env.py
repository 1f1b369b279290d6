"""Alembic's entry. `service.adapters.db.upgrade` hands in the engine; the command line reads STROP_DATABASE_URL."""

from alembic import context
from sqlalchemy import Connection, text

from service.adapters.db.engine import connect
from service.adapters.db.tables import metadata

LOCK = 7_787_671  # any number of our own: "strop" on a telephone, shortened


def run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite: BEGIN IMMEDIATE has the file already
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


engine = context.config.attributes.get("engine")
if engine is None:
    from service import settings

    engine = connect(settings.load().database_url).engine
with engine.execution_options(begin_immediate=True).begin() as connection:
    run(connection)
