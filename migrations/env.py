"""Alembic's entry. `service.adapters.db.upgrade` hands in the engine; the command line reads STROP_DATABASE_URL.

SQLite: all revisions in one transaction, which has the file. PostgreSQL: one a revision, beside a fleet that goes on working;
what a coming revision may do there stands in README.md beside this file.
"""

import logging
from time import sleep

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from service.adapters.db.engine import connect
from service.adapters.db.migrate import Patience
from service.adapters.db.tables import metadata
from service.domain.errors import Unavailable

LOCK = 7_787_671  # any number of our own: "strop" on a telephone, shortened
LOCK_NOT_AVAILABLE = "55P03"

log = logging.getLogger("strop.migrations")


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        transaction_per_migration=connection.dialect.name == "postgresql",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_beside_others(connection: Connection, patience: Patience) -> None:
    """One process at a time, by a lock that is tried and not waited for: an index that is made concurrently would wait for
    the waiting one. A table's lock is waited for shortly, since every query queues behind whoever waits for it."""
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
        connection.commit()
        sleep(patience.look_seconds)
    connection.execute(text(f"SET lock_timeout = {round(patience.lock_seconds * 1000)}"))
    connection.commit()
    try:
        for left in reversed(range(patience.tries)):
            try:
                return run(connection)
            except OperationalError as error:
                connection.rollback()
                if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                    raise
                if not left:
                    raise Unavailable(
                        f"a table was in use by others for longer than {patience.lock_seconds:g} s, {patience.tries} times: "
                        "a copy (pg_dump) or a long transaction holds it. See pg_stat_activity, and migrate again after it"
                    ) from error
                log.warning("a table is in use for long; the migration waits %g s", patience.pause_seconds)
                sleep(patience.pause_seconds)
    finally:
        connection.invalidate()  # the session ends, and with it its lock and its settings


engine = context.config.attributes.get("engine")
if engine is None:
    from service import settings

    engine = connect(settings.load().database_url).engine
if engine.dialect.name == "postgresql":
    with engine.connect() as connection:
        run_beside_others(connection, context.config.attributes.get("patience", Patience()))
else:
    with engine.execution_options(begin_immediate=True).begin() as connection:
        run(connection)
