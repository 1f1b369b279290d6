"""Reading jobs."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Column, ColumnElement, Connection, Row, Select, and_, exists, func, literal, or_, select, tuple_

from service.adapters.db.tables import SHOWN, attempts, job_needs, jobs
from service.adapters.db.types import Later
from service.domain.errors import FenceLost
from service.domain.ids import Fence, JobId, TenantId
from service.domain.jobs import (
    CERTIFICATES_SHOWN,
    OWNED,
    Attempt,
    Certificate,
    Job,
    JobError,
    Kind,
    Progress,
    State,
    UnreadableRecipe,
)
from service.domain.offers import MEMORY, MODEL, Offered
from service.domain.pages import Position
from service.domain.ports import Held, Waiting
from service.domain.recipes import BriefRecipe, Recipe


def owned_by(job: JobId, fence: Fence) -> Any:
    """The condition under which an attempt may write: its fence is the job's, and the state is an owned one."""
    return and_(jobs.c.id == job, jobs.c.fence == fence, jobs.c.state.in_(sorted(OWNED)))


def lacking(words: Any, memory: ColumnElement[float], any_model: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition under which a worker that offers these cannot take the job: `Offered.meets` in SQL."""
    enough = and_(job_needs.c.need == MEMORY, job_needs.c.amount <= memory)
    some_model = and_(any_model, job_needs.c.need.startswith(MODEL))
    met = or_(and_(job_needs.c.amount.is_(None), job_needs.c.need.in_(words)), enough, some_model)
    return exists().where(job_needs.c.job_id == jobs.c.id, ~met)


HELD: tuple[Column[Any], ...] = (jobs.c.id, jobs.c.tenant_id, jobs.c.state, jobs.c.fence, jobs.c.failures)


def held(row: Row[Any]) -> Held:
    return Held(JobId(row.id), TenantId(row.tenant_id), State(row.state), Fence(row.fence), row.failures)


_BESIDE = tuple(column for column in jobs.c if column.name not in {"recipe", "brief"})
_BRIEF: Select[Any] = select(*_BESIDE, SHOWN.label("recipe"))
_WHOLE: Select[Any] = select(*_BESIDE, jobs.c.recipe)


class JobRows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, tenant: TenantId, job: JobId) -> Job | None:
        return self._one(_BRIEF.where(jobs.c.tenant_id == tenant, jobs.c.id == job))

    def whole(self, tenant: TenantId, job: JobId) -> Job | None:
        return self._one(_WHOLE.where(jobs.c.tenant_id == tenant, jobs.c.id == job))

    def version(self, tenant: TenantId, job: JobId) -> int | None:
        return self._connection.scalar(select(jobs.c.version).where(jobs.c.tenant_id == tenant, jobs.c.id == job))

    def page(
        self, tenant: TenantId, state: State | None, kind: Kind | None, after: Position | None, limit: int
    ) -> list[Job]:
        statement = _BRIEF.where(jobs.c.tenant_id == tenant)
        if state is not None:
            statement = statement.where(jobs.c.state == state)
        if kind is not None:
            statement = statement.where(jobs.c.kind == kind)
        if after is not None:
            place = tuple_(literal(after.created_at, jobs.c.created_at.type), literal(after.id))
            statement = statement.where(tuple_(jobs.c.created_at, jobs.c.id) < place)
        newest = statement.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        return self._load(self._connection.execute(newest).all())

    def owned(self, job: JobId, fence: Fence) -> Held:
        row = self._connection.execute(select(*HELD).where(owned_by(job, fence))).one_or_none()
        if row is None:
            raise FenceLost
        return held(row)

    def waiting(
        self, workers: Collection[Offered], due_seconds: float, after: JobId | None, limit: int
    ) -> list[Waiting]:
        idle = [lacking(sorted(each.words), literal(each.memory_gib), literal(each.any_model)) for each in workers]
        due = jobs.c.not_before <= Later(-due_seconds)
        some = select(jobs.c.id, jobs.c.wait_reason).where(
            jobs.c.not_before.is_not(None),
            jobs.c.id > (after or ""),
            or_(jobs.c.wait_reason.is_not(None), and_(due, *idle)),
        )
        found = {row.id: row.wait_reason for row in self._connection.execute(some.order_by(jobs.c.id).limit(limit))}
        needs: dict[str, dict[str, float | None]] = {id: {} for id in found}
        for row in self._connection.execute(select(job_needs).where(job_needs.c.job_id.in_(list(found)))):
            needs[row.job_id][row.need] = row.amount
        return [Waiting(JobId(id), needs[id], reason) for id, reason in found.items()]

    def _one(self, statement: Select[Any]) -> Job | None:
        loaded = self._load(self._connection.execute(statement).all())
        return loaded[0] if loaded else None

    def _load(self, rows: Sequence[Row[Any]]) -> list[Job]:
        """Jobs with their attempts and what their certificates found: three statements for however many."""
        tried: dict[str, list[Attempt]] = {row.id: [] for row in rows}
        if rows:
            statement = select(attempts).where(attempts.c.job_id.in_(list(tried))).order_by(attempts.c.fence)
            for row in self._connection.execute(statement):
                tried[row.job_id].append(
                    Attempt(Fence(row.fence), row.worker, row.device, row.started_at, row.ended_at, row.cause)
                )
        found = self._certificates(list(tried)) if rows else {}
        return [_job(row, tried[row.id], found.get(row.id, ())) for row in rows]

    def _certificates(self, parents: list[str]) -> dict[str, list[Certificate]]:
        newest = func.row_number().over(partition_by=jobs.c.parent_id, order_by=jobs.c.created_at.desc())
        theirs = (
            select(jobs.c.id, jobs.c.parent_id, jobs.c.certificate, newest.label("rank"))
            .where(jobs.c.parent_id.in_(parents), jobs.c.certificate.is_not(None)).subquery()
        )  # fmt: skip
        shown = select(theirs).where(theirs.c.rank <= CERTIFICATES_SHOWN).order_by(theirs.c.rank)
        found: dict[str, list[Certificate]] = {}
        for row in self._connection.execute(shown):
            found.setdefault(row.parent_id, []).append(_certificate(row))
        return found


def _job(row: Row[Any], tried: Iterable[Attempt], certificates: Iterable[Certificate]) -> Job:
    posted = _recipe(row)
    return Job(
        id=JobId(row.id),
        tenant=TenantId(row.tenant_id),
        state=State(row.state),
        posted=posted,
        created_at=row.created_at,
        updated_at=row.updated_at,
        fence=Fence(row.fence),
        progress=Progress(
            row.step, row.steps, row.reward, row.training_nfe, row.training_fe, row.seconds_left, row.training_seconds
        ),
        adapter=f"{row.adapter_name}@{row.adapter_version}" if row.adapter_version else None,
        error=JobError(row.error_code, row.error_message) if row.error_code else None,
        attempts=tuple(tried),
        metadata=posted.metadata,
        event_count=row.event_count,
        version=row.version,
        kind=Kind(row.kind),
        parent=JobId(row.parent_id) if row.parent_id else None,
        stop_reason=row.stop_reason,
        certificate=_certificate(row) if row.certificate else None,
        certificates=tuple(certificates),
        failures=row.failures,
        wait_reason=row.wait_reason if row.state == State.QUEUED else None,
    )


def _recipe(row: Row[Any]) -> Recipe | UnreadableRecipe:
    """One that cannot be read spoils neither the page that it stands on nor the end of its job."""
    try:
        is_brief = isinstance(row.recipe, dict) and "validation_prompt_count" in row.recipe
        return (BriefRecipe if is_brief else Recipe).model_validate(row.recipe)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        reason = (
            f"the stored recipe of {row.id} cannot be read by this version of Strop ({place}: {first['msg']}): "
            "bring every process to the newest version, or post the job anew"
        )
        return UnreadableRecipe(row.recipe if isinstance(row.recipe, dict) else {}, reason)


def _certificate(row: Row[Any]) -> Certificate:
    return Certificate(job=JobId(row.id), **row.certificate)
