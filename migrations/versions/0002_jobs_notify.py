"""PostgreSQL tells who listens on strop_jobs the id of each job that is new or has changed visibly.

Revision: 0002. A trigger, so that no code path forgets it. Every visible change sets `version`; a heartbeat does not.
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(
        """
        CREATE FUNCTION strop_jobs_notify() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('strop_jobs', NEW.id);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER strop_jobs_notify AFTER INSERT OR UPDATE OF version ON jobs
        FOR EACH ROW EXECUTE FUNCTION strop_jobs_notify()
        """
    )


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP TRIGGER strop_jobs_notify ON jobs")
    op.execute("DROP FUNCTION strop_jobs_notify()")
