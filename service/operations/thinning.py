"""Thinning a job's checkpoints while it trains: the last few and the best stay, so that a long job does not fill the store.

Rows go first, in one transaction under the attempt's fence; then the objects. What a crash leaves between the two is an
orphan, which the steward removes. Nothing that a row names is ever deleted.
"""

from collections.abc import Sequence

from service.domain.artifacts import Artifact, Kind
from service.domain.ids import Fence, JobId
from service.domain.outside import Store
from service.domain.ports import Database
from service.operations import stowing

LEAST = 2
"""Of the last checkpoints: one to fall back on, and a certificate needs two in a row."""


def thin(
    database: Database, store: Store, job_id: JobId, fence: Fence, *, keep_last: int, best_step: int | None
) -> list[Artifact]:
    """Delete all but the last `keep_last` checkpoints and the one of `best_step`; returns those that are gone.

    Those stay with which a certificate is yet to begin, or which it is to meet.

    Raises FenceLost. A store that is away only leaves orphans.
    """
    with database.write() as unit:
        held = unit.jobs.own(job_id, fence)
        kept, in_use = unit.artifacts.of(held.tenant, job_id, Kind.CHECKPOINT), unit.upkeep.replayed(job_id)
        gone = [each for each in superfluous(kept, keep_last, best_step) if each.step not in in_use]
        unit.artifacts.remove(held, gone)
    stowing.discard(store, gone)
    return gone


def superfluous(kept: Sequence[Artifact], keep_last: int, best_step: int | None) -> list[Artifact]:
    """Which of a job's checkpoints can go, in their order. Of a step that was made twice the highest fence counts.

    Checkpoints beyond the newest of the newest attempt stay: it passed them over as damaged, and they neither count as
    something to go on from nor are they its own to judge; they go when their step has been made again.
    """
    if not kept:
        return []
    last_fence = max(artifact.fence for artifact in kept)
    reached = max(artifact.step for artifact in kept if artifact.fence == last_fence)
    counted = {
        artifact.step: artifact
        for artifact in sorted(kept, key=lambda artifact: artifact.fence)
        if artifact.step <= reached
    }
    stay = {*sorted(counted)[-max(keep_last, LEAST) :], best_step}
    return [
        artifact
        for artifact in kept
        if artifact.step <= reached and (artifact.step not in stay or artifact is not counted[artifact.step])
    ]
