"""A certificate, from its worker's side: which checkpoint it begins with, and how it ends: with a digest, and no adapter."""

from dataclasses import replace

from service.domain.artifacts import Artifact, Kind
from service.domain.errors import Conflict
from service.domain.ids import NOBODY, Fence, JobId, TenantId
from service.domain.jobs import Certificate, Job, State, check_transition
from service.domain.ports import Database, Deed, ReadUnit
from service.domain.recipes import Recipe, Replay


def checkpoints(unit: ReadUnit, job: Job) -> list[Artifact]:
    """What an attempt may begin with, oldest first: a certificate only with its parent's checkpoint that it names."""
    if job.recipe.replay is None:
        return unit.artifacts.of(job.tenant, job.id, Kind.CHECKPOINT)
    return _named(unit, job.tenant, job.recipe)


def can_begin(unit: ReadUnit, tenant: TenantId, recipe: Recipe) -> bool:
    """Whether both checkpoints that a certificate names are stored; true for every other job.

    Asked once the certificate's row is written: that row holds the parent's by its foreign key, and from then on whoever
    removes checkpoints sees the certificate.
    """
    return recipe.replay is None or bool(_named(unit, tenant, recipe) and _met(unit, tenant, recipe))


def goal(unit: ReadUnit, job: Job) -> Artifact | None:
    """The parent's checkpoint that a certificate's replay must meet, while it is stored."""
    return None if job.recipe.replay is None else next(iter(_met(unit, job.tenant, job.recipe)), None)


def _named(unit: ReadUnit, tenant: TenantId, recipe: Recipe) -> list[Artifact]:
    replay, stored = _stored(unit, tenant, recipe)
    named = replay.checkpoint_step, replay.checkpoint_fence
    return [each for each in stored if (each.step, each.fence) == named]


def _met(unit: ReadUnit, tenant: TenantId, recipe: Recipe) -> list[Artifact]:
    replay, stored = _stored(unit, tenant, recipe)
    return [each for each in stored if (each.step, each.sha256) == (replay.to_step, replay.expected_sha256)]


def _stored(unit: ReadUnit, tenant: TenantId, recipe: Recipe) -> tuple[Replay, list[Artifact]]:
    assert recipe.replay is not None
    assert recipe.parent_id is not None
    return recipe.replay, unit.artifacts.of(tenant, JobId(recipe.parent_id), Kind.CHECKPOINT)


def certify(
    database: Database, job_id: JobId, fence: Fence, *, found_sha256: str, training_nfe: int, training_fe: float
) -> Job:
    """End a certificate as succeeded, whether it holds or not; its parent gets an event. One transaction.

    Raises FenceLost; InvalidTransition where a cancel or pause came first; Conflict for a job that is no certificate.
    """
    with database.write() as unit:
        held = unit.jobs.own(job_id, fence)
        job = unit.jobs.get(held.tenant, job_id)
        assert job is not None, "a held job has a row"
        replay, parent = job.recipe.replay, job.parent
        if replay is None or parent is None:
            raise Conflict("the job is no certificate: it succeeds with an adapter", code="not_a_certificate")
        check_transition(held.state, State.FINALIZING)
        unit.jobs.move(held, State.FINALIZING, error=None, failures=held.failures, wait_seconds=0)
        spent = replace(
            job.progress, step=replay.to_step, training_nfe=training_nfe, training_fe=training_fe, seconds_left=0.0
        )
        unit.events.report(job_id, fence, Deed("job.finalizing", {}, replay.to_step), spent)
        found = Certificate(job_id, replay.checkpoint_step, replay.to_step, replay.expected_sha256, found_sha256)
        check_transition(State.FINALIZING, State.SUCCEEDED)
        unit.jobs.certify(held, found)
        unit.jobs.end_attempt(held, "succeeded")
        told = {
            "from_step": found.from_step, "to_step": found.to_step, "expected_sha256": found.expected_sha256,
            "found_sha256": found_sha256, "holds": found.holds,
        }  # fmt: skip
        unit.events.append(job_id, fence, Deed("job.succeeded", told, replay.to_step))
        unit.events.append(parent, NOBODY, Deed("job.certified", {"job": job_id, **told}, replay.to_step))
        done = unit.jobs.get(held.tenant, job_id)
        assert done is not None
        return done
