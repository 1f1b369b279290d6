"""Writing jobs: the claim, the lease, and every change of state. A row is held from its lock to the unit's end."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Float,
    Integer,
    Update,
    bindparam,
    func,
    insert,
    select,
    update,
)

from service.adapters.db.events import WRITTEN
from service.adapters.db.jobs import HELD, JobRows, held, lacking, owned_by
from service.adapters.db.tables import attempts, job_needs, jobs
from service.adapters.db.types import Later, Now
from service.domain.errors import FenceLost
from service.domain.ids import Fence, JobId, TenantId
from service.domain.jobs import TERMINAL, Certificate, JobError, State
from service.domain.offers import Offers, needs
from service.domain.ports import Held, Submission
from service.domain.recipes import BriefRecipe


class JobWrites(JobRows):
    def add(self, submission: Submission) -> None:
        recipe = submission.recipe
        assert not isinstance(recipe, BriefRecipe), "a job is stored with its whole recipe"
        brief = recipe.brief()
        self._connection.execute(
            insert(jobs).values(
                id=submission.id, tenant_id=submission.tenant, state=State.QUEUED, priority=recipe.priority,
                recipe=recipe.model_dump(mode="json"), adapter_name=submission.adapter_name,
                created_at=Now(), updated_at=Now(), version=1, fence=0, failures=0, not_before=Now(), event_count=0,
                step=0, steps=recipe.replay.to_step if recipe.replay else recipe.steps, training_nfe=0, training_fe=0,
                training_seconds=0, kind=recipe.kind, parent_id=recipe.parent_id,
                brief=brief.model_dump(mode="json") if brief else None,
            )
        )  # fmt: skip
        of_job = {"job_id": submission.id, "tenant_id": submission.tenant}
        wanted = [{**of_job, "need": need, "amount": amount} for need, amount in sorted(needs(recipe).items())]
        self._connection.execute(insert(job_needs), wanted)

    def lock(self, tenant: TenantId, job: JobId) -> Held | None:
        mine = select(*HELD).where(jobs.c.tenant_id == tenant, jobs.c.id == job).with_for_update()
        row = self._connection.execute(mine).one_or_none()
        return held(row) if row else None

    def own(self, job: JobId, fence: Fence) -> Held:
        row = self._connection.execute(select(*HELD).where(owned_by(job, fence)).with_for_update()).one_or_none()
        if row is None:
            raise FenceLost
        return held(row)

    def claim(self, worker: str, device: str | None, offers: Offers, lease_seconds: float) -> Held | None:
        words = sorted(offers.words())
        given = {
            "words": words,
            "memory": offers.memory_gib,
            "any_model": offers.models is None,
            "lease": lease_seconds,
        }
        row = self._connection.execute(_CLAIM, given).one_or_none()
        if row is None:
            return None
        job = held(row)
        of_job = {"job_id": job.id, "fence": job.fence, "tenant_id": job.tenant}
        self._connection.execute(_BEGUN, {**of_job, "worker": worker, "device": device})
        told = {"number": row.event_count, "type": "job.started", "data": {"worker": worker, "device": device}}
        self._connection.execute(WRITTEN, {**of_job, **told, "step": None})
        return job

    def renew(self, job: JobId, fence: Fence, lease_seconds: float) -> State:
        renewed = update(jobs).where(owned_by(job, fence)).values(lease_until=Later(lease_seconds))
        state = self._connection.scalar(renewed.returning(jobs.c.state))
        if state is None:
            raise FenceLost
        return State(state)

    def expired(self, limit: int) -> list[Held]:
        return [held(row) for row in self._connection.execute(_EXPIRED, {"most": limit})]

    def move(self, job: Held, to: State, *, error: JobError | None, failures: int, wait_seconds: float) -> None:
        values: dict[str, Any] = {
            "state": to,
            "failures": failures,
            "not_before": Later(wait_seconds) if to is State.QUEUED else None,
            "untrimmed_since": Now() if to in TERMINAL else None,
            "error_code": error.code if error else None,
            "error_message": _storable(error.message) if error else None,
            "wait_reason": None,
            "version": jobs.c.version + 1,
            "updated_at": Now(),
        }
        if to in _UNOWNED:
            values |= {"lease_until": None, "seconds_left": None}
        as_read = jobs.c.id == job.id, jobs.c.state == job.state
        moved = self._connection.execute(update(jobs).where(*as_read).values(**values))
        if moved.rowcount != 1:
            raise RuntimeError(f"{job.id} left {job.state} although its row was held")

    def certify(self, job: Held, found: Certificate) -> None:
        stored = asdict(found)
        del stored["job"]
        ended = {"state": State.SUCCEEDED, "lease_until": None, "seconds_left": None, "stop_reason": "completed"}
        changed = {"version": jobs.c.version + 1, "updated_at": Now(), "untrimmed_since": Now()}
        self._connection.execute(update(jobs).where(jobs.c.id == job.id).values(certificate=stored, **ended, **changed))

    def place_attempt(self, job: Held, device: str) -> None:
        running = attempts.c.job_id == job.id, attempts.c.fence == job.fence
        self._connection.execute(update(attempts).where(*running).values(device=device))

    def explain(self, job: JobId, reason: str | None) -> bool:
        changed = {"wait_reason": reason, "version": jobs.c.version + 1, "updated_at": Now()}
        queued = jobs.c.id == job, jobs.c.state == State.QUEUED
        return self._connection.execute(update(jobs).where(*queued).values(**changed)).rowcount == 1

    def end_attempt(self, job: Held, cause: str) -> None:
        ended = attempts.c.job_id == job.id, attempts.c.fence == job.fence, attempts.c.ended_at.is_(None)
        self._connection.execute(update(attempts).where(*ended).values(ended_at=Now(), cause=cause))


_UNOWNED = {State.QUEUED, State.PAUSED, State.SUCCEEDED, State.FAILED, State.CANCELLED}


def _storable(text: str) -> str:
    """PostgreSQL's text holds neither NUL nor half a character."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _claim() -> Update:
    """One UPDATE that picks and takes: priority, tenants with fewer running jobs, then the longest unserved, age.

    `words`, `memory` and `any_model` are what the worker offers.
    `not_before` is set exactly while a job is queued: the partial index on it is all of the table that is searched.
    Under SKIP LOCKED a rival's row is passed over; a row that a rival took and committed meanwhile fails the re-check.
    """
    running = (
        select(jobs.c.tenant_id, func.count().label("count"))
        .where(jobs.c.lease_until.is_not(None)).group_by(jobs.c.tenant_id).cte("running")
    )  # fmt: skip
    waiting = select(jobs.c.tenant_id).where(jobs.c.not_before.is_not(None)).distinct().cte("waiting")
    served = (
        select(func.max(attempts.c.started_at)).where(attempts.c.tenant_id == waiting.c.tenant_id).scalar_subquery()
    )  # fmt: skip
    share = (
        select(waiting.c.tenant_id, func.coalesce(running.c.count, 0).label("running"), served.label("served"))
        .select_from(waiting.outerjoin(running, running.c.tenant_id == waiting.c.tenant_id)).cte("share")
        .prefix_with("MATERIALIZED", dialect="postgresql")  # once a tenant, not once a queued job
    )  # fmt: skip
    words: BindParameter[Any] = bindparam("words", expanding=True)
    lacks = lacking(words, bindparam("memory", type_=Float()), bindparam("any_model", type_=Boolean()))
    turn = (
        jobs.c.priority.desc(), share.c.running, share.c.served.asc().nulls_first(), jobs.c.created_at, jobs.c.id
    )  # fmt: skip
    next_job = (
        select(jobs.c.id)
        .select_from(jobs.join(share, share.c.tenant_id == jobs.c.tenant_id))
        .where(jobs.c.not_before <= Now(), ~lacks)
        .order_by(*turn).limit(1).with_for_update(skip_locked=True, of=jobs)
    )  # fmt: skip
    return (
        update(jobs)
        .where(jobs.c.id == next_job.scalar_subquery(), jobs.c.state == State.QUEUED)
        .values(
            state=State.RUNNING, fence=jobs.c.fence + 1, not_before=None,
            lease_until=Later(bindparam("lease", type_=Float())),
            error_code=None, error_message=None, wait_reason=None, version=jobs.c.version + 1, updated_at=Now(),
            event_count=jobs.c.event_count + 1,
        )
        .returning(*HELD, jobs.c.event_count)
    )  # fmt: skip


_CLAIM = _claim()
_EXPIRED = (
    select(*HELD).where(jobs.c.lease_until < Now()).order_by(jobs.c.lease_until)
    .limit(bindparam("most", type_=Integer())).with_for_update(skip_locked=True)
)  # fmt: skip
_BEGUN = insert(attempts).values(started_at=Now())
"""A claim's statements are built once: that takes as long as running them."""
