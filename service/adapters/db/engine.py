"""One engine a process, and its two kinds of transaction.

SQLite: a writing transaction begins with BEGIN IMMEDIATE, so that it never reads what another is about to change (with
plain BEGIN 450 of 600 read-then-write updates were lost in a trial); WAL lets readers go on meanwhile.
PostgreSQL: writers run READ COMMITTED and hold rows by FOR UPDATE; readers get one snapshot.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

from service.adapters.db.schema import is_old
from service.adapters.db.units import Reading, Writing
from service.domain.errors import Unavailable

BUSY_SECONDS = 10.0
CONNECT_SECONDS = 5.0
_SQLITE_AWAY = ("locked", "busy", "unable to open", "disk i/o", "database or disk is full", "readonly")


class SqlDatabase:
    """The database behind the port of that name. Safe to share between threads; close it when the process ends.

    A process does nothing on a schema that is older than its code: it would claim jobs that it cannot read.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        postgresql = engine.dialect.name == "postgresql"
        snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = engine.execution_options(**(snapshot if postgresql else {}))
        self._writer = engine.execution_options(begin_immediate=True)
        self._fits = False

    @contextmanager
    def read(self) -> Iterator[Reading]:
        with translated(), self._reader.begin() as connection:
            self._check_schema(connection)
            yield Reading(connection)

    @contextmanager
    def write(self) -> Iterator[Writing]:
        with translated(), self._writer.begin() as connection:
            self._check_schema(connection)
            yield Writing(connection)

    def ping(self) -> None:
        """Raises Unavailable when the database does not answer, or has an older schema than this process."""
        with translated(), self._reader.begin() as connection:
            self._check_schema(connection)
            connection.execute(text("SELECT 1"))

    def _check_schema(self, connection: Connection) -> None:
        """Asked until it fits: a schema goes forward only."""
        if not self._fits and is_old(connection):
            raise Unavailable(
                "the database's schema is older than this process: run `python -m service.manage migrate`"
            )
        self._fits = True

    def close(self) -> None:
        self.engine.dispose()


def connect(url: str, *, connections: int = 10) -> SqlDatabase:
    """Make the engine for postgresql://… or sqlite:///path. Nothing is opened yet, but SQLite's folder is made."""
    parsed = make_url(url)
    options: dict[str, Any] = {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": CONNECT_SECONDS,
        "pool_pre_ping": True,
        "json_serializer": partial(json.dumps, allow_nan=False, separators=(",", ":"), ensure_ascii=True),
    }
    if parsed.get_backend_name() == "sqlite":
        Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS}, **options)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(parsed, connect_args=_postgresql_patience(), **options)
    return SqlDatabase(engine)


def _postgresql_patience() -> dict[str, Any]:
    """No wait without an end: for a connection, a lock, an answer of a server that is cut off, a client that sleeps."""
    milliseconds = round(BUSY_SECONDS * 1000)
    bounds = {"lock_timeout": milliseconds, "idle_in_transaction_session_timeout": 3 * milliseconds}
    options = " ".join(f"-c {name}={value}" for name, value in bounds.items())
    return {"connect_timeout": max(2, round(CONNECT_SECONDS)), "tcp_user_timeout": 2 * milliseconds, "options": options}


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("begin_immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def translated() -> Iterator[None]:
    """What means "the database is away" becomes Unavailable; faults of our own stay what they are."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable("the database has no free connection; try again") from error
    except DBAPIError as error:
        if error.connection_invalidated or _is_away(error):
            raise Unavailable("the database is away or busy; try again") from error
        raise


def _is_away(error: DBAPIError) -> bool:
    """PostgreSQL: any operational error (connection, resources, shutdown). SQLite has one class for all: by its words."""
    if not isinstance(error, OperationalError):
        return False
    if hasattr(error.orig, "sqlstate"):
        return True
    return any(words in str(error.orig).lower() for words in _SQLITE_AWAY)
