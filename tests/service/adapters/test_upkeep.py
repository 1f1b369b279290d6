"""What the steward removes, against who comes in the same moment."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event, text

from service.domain.principals import LOCAL
from service.domain.recipes import CertificateRequest
from service.operations.retention import DAY
from tests.eventually import eventually
from tests.service.operations.test_retention import Old
from tests.service.world import World

GATE = 20_261


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_certificate_that_commits_after_the_snapshot_keeps_its_parents_checkpoints(world: World) -> None:
    """Its foreign key has only shared the parent's row, so that the row, once it is come to, is as the snapshot has it.

    The statement that chooses is held between its snapshot and its first row: by a lock that it asks for while it runs.
    """
    old = Old(world.database, world.store, world.catalogue, world.folder)
    job = old.trained()
    old.ended_before(job, 8)

    def hold(*given: Any) -> tuple[str, Any]:
        statement, parameters = given[2:4]
        if "SKIP LOCKED" in statement:
            statement = statement.replace(
                "ORDER BY jobs.id", f"AND (SELECT pg_advisory_xact_lock({GATE})::text) IS NOT NULL ORDER BY jobs.id"
            )
        return statement, parameters

    def expire() -> int:
        with world.database.write() as unit:
            return len(unit.upkeep.expire_checkpoints(7 * DAY, 20))

    def is_held() -> bool:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(world.sql(waiting)[0][0])

    event.listen(world.database.engine, "before_cursor_execute", hold, retval=True)
    with ThreadPoolExecutor(1) as beside, world.database.engine.connect() as gate:
        gate.execute(text(f"SELECT pg_advisory_lock({GATE})"))
        expiring = beside.submit(expire)
        try:
            eventually(is_held)
            event.remove(world.database.engine, "before_cursor_execute", hold)
            certificate = world.jobs.certify(LOCAL, job.id, CertificateRequest())[0]
        finally:
            gate.execute(text(f"SELECT pg_advisory_unlock({GATE})"))
        assert expiring.result() == 0
    claim = world.claim_of(certificate)
    assert claim.checkpoint is not None
    world.attempts.read(claim.checkpoint, world.folder / "back")
