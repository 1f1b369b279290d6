"""Which schema the tables of this code have, and whether a database's is older."""

from sqlalchemy import Connection, inspect, text

REVISION = "0011"
"""The newest in migrations/versions. Revisions are numbered by four digits, so that a later one compares greater."""


def is_old(connection: Connection) -> bool:
    """True while the database lacks a migration that this code knows. One that is newer than this code lacks none: while a
    fleet is brought up to date, processes of the version before go on."""
    if not inspect(connection).has_table("alembic_version"):
        return True
    revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision is None or str(revision) < REVISION
