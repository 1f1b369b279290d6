"""PostgreSQL and SQLite behind the ports: tables, one repository a table, and the engine that tells the two apart.

The only door to SQLAlchemy, Alembic and psycopg. Core statements, no ORM: nothing is loaded that was not asked for.
"""

from service.adapters.db.engine import SqlDatabase, connect
from service.adapters.db.migrate import Patience, upgrade
from service.adapters.db.notifier import JobNotifier

__all__ = ["JobNotifier", "Patience", "SqlDatabase", "connect", "upgrade"]
