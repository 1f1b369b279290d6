"""A job as its owner sees it: posted, read, listed, followed; cancelled, paused, resumed, retried; cloned, certified."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from service.domain import artifacts, jobs
from service.domain.catalogue import Catalogue
from service.domain.errors import Conflict
from service.domain.ids import NOBODY, JobId, new_job_id
from service.domain.jobs import Event, Job, State
from service.domain.outside import Doorbell, Store
from service.domain.pages import Page, Position, check_limit, cut
from service.domain.ports import Database, Deed, Held, Submission, WriteUnit
from service.domain.principals import Principal
from service.domain.recipes import CertificateRequest, JobRequest, Recipe
from service.domain.verbs import CANCEL, PAUSE, RESUME, RETRY, Verb
from service.operations import certifying, deleting
from service.operations.deriving import certificate_recipe, check_models, clone_request
from service.operations.known import known_form, no_job
from service.operations.moves import move
from service.operations.once import Keyed, known, once
from service.operations.resolving import resolve
from service.operations.shelf import TenantShelf

Read: TypeAlias = Callable[[bytes], JobRequest]
"""How a face reads a body strictly: raises InvalidRequest with one FieldError per place."""


class Jobs:
    """What changes something returns the job as it is now, and whether an earlier request with the same key did it."""

    def __init__(self, database: Database, doorbell: Doorbell, catalogue: Catalogue, store: Store) -> None:
        self._database, self._doorbell = database, doorbell
        self._catalogue, self._store = catalogue, store

    def submit(self, principal: Principal, request: JobRequest, keyed: Keyed | None = None) -> tuple[Job, bool]:
        """Queue a job. Raises InvalidRequest: names that are not in the catalogue, unusable prompts, a key used otherwise."""
        return self._add(principal, keyed, lambda: self._resolved(principal, request), {})

    def clone(
        self, principal: Principal, job_id: JobId, overrides: Mapping[str, Any], read: Read, keyed: Keyed | None = None
    ) -> tuple[Job, bool]:
        """Queue a job of the same request with overrides (`deriving.clone_request`); names are looked up anew."""

        def make() -> Recipe:
            request = clone_request(self._whole(principal, job_id), overrides, read)
            return self._resolved(principal, request).model_copy(update={"parent_id": job_id})

        return self._add(principal, keyed, make, {"cloned": job_id, "overrides": sorted(overrides)})

    def certify(
        self, principal: Principal, job_id: JobId, asked: CertificateRequest, keyed: Keyed | None = None
    ) -> tuple[Job, bool]:
        """Queue a certificate of the job: a replay between two of its stored checkpoints. Raises Conflict without them, and where
        the catalogue has changed."""

        def make() -> Recipe:
            parent = self._whole(principal, job_id)
            check_models(parent.recipe, self._catalogue, "or certify a clone of it")
            with self._database.read() as unit:
                stored = unit.artifacts.of(principal.tenant, job_id, artifacts.Kind.CHECKPOINT)
                trained = unit.events.trained(principal.tenant, job_id)
            return certificate_recipe(parent, asked, stored, trained)

        return self._add(principal, keyed, make, {"certifies": job_id})

    def ask(self, principal: Principal, job_id: JobId, verb: Verb, keyed: Keyed | None = None) -> tuple[Job, bool]:
        """Cancel, pause, resume or retry. Again is no error where it means the same. Raises InvalidTransition, NotFound; Conflict where
        the job would be queued and the catalogue has its models no more."""

        def write(unit: WriteUnit) -> None:
            held = unit.jobs.lock(principal.tenant, known_form(job_id))
            if held is None:
                raise no_job(job_id)
            to = verb.leads(held.state)
            if to is State.QUEUED:
                self._check_models(unit, held)
            if to is not None:
                data = {"cause": verb.name, "by": principal.tenant}
                move(unit, held, to, data=data, failures=0 if verb is RETRY else None)

        _, replayed = once(self._database, principal, keyed, job_id, write)
        if not replayed and State.QUEUED in verb.moves.values():
            self._doorbell.ring()
        return self.get(principal, job_id), replayed

    def cancel(self, principal: Principal, job_id: JobId) -> Job:
        """At once where nobody runs it, else at its next step."""
        return self.ask(principal, job_id, CANCEL)[0]

    def pause(self, principal: Principal, job_id: JobId) -> Job:
        """At its next step, with a checkpoint."""
        return self.ask(principal, job_id, PAUSE)[0]

    def resume(self, principal: Principal, job_id: JobId) -> Job:
        """Queue a paused job again; it goes on from its last good checkpoint."""
        return self.ask(principal, job_id, RESUME)[0]

    def retry(self, principal: Principal, job_id: JobId) -> Job:
        """Queue a failed job again, from its last good checkpoint, with its attempts counted from 0."""
        return self.ask(principal, job_id, RETRY)[0]

    def get(self, principal: Principal, job_id: JobId) -> Job:
        """With the first prompts of its recipe, where they are many."""
        with self._database.read() as unit:
            job = unit.jobs.get(principal.tenant, known_form(job_id))
        if job is None:
            raise no_job(job_id)
        return job

    def version(self, principal: Principal, job_id: JobId) -> int:
        """Goes up with every visible change of the job: what an ETag is made of. Cheaper than `get`."""
        with self._database.read() as unit:
            version = unit.jobs.version(principal.tenant, known_form(job_id))
        if version is None:
            raise no_job(job_id)
        return version

    def list(
        self,
        principal: Principal,
        *,
        state: State | None = None,
        kind: jobs.Kind | None = None,
        cursor: str | None = None,
        limit: int = 20,
    ) -> Page[Job]:
        """Newest first."""
        after = Position.parse(cursor) if cursor else None
        with self._database.read() as unit:
            found = unit.jobs.page(principal.tenant, state, kind, after, check_limit(limit) + 1)
        return cut(found, limit, lambda job: Position(job.created_at, job.id).cursor())

    def events(self, principal: Principal, job_id: JobId, *, after: int = 0, limit: int = 100) -> Page[Event]:
        """In order, those numbered above `after`."""
        with self._database.read() as unit:
            if unit.jobs.version(principal.tenant, known_form(job_id)) is None:
                raise no_job(job_id)
            events = unit.events.after(principal.tenant, job_id, after, check_limit(limit) + 1)
        return cut(events, limit, lambda event: str(event.number))

    def _add(
        self, principal: Principal, keyed: Keyed | None, make: Callable[[], Recipe], data: dict[str, Any]
    ) -> tuple[Job, bool]:
        """A new job of the recipe that `make` gives, which is asked only where the key does not know the answer."""
        if (before := known(self._database, principal, keyed)) is not None:
            return self.get(principal, JobId(before)), True
        recipe, job_id = make(), new_job_id()

        def write(unit: WriteUnit) -> None:
            unit.jobs.add(Submission(job_id, principal.tenant, recipe, recipe.adapter_name or job_id))
            if not certifying.can_begin(unit, principal.tenant, recipe):
                raise Conflict("the checkpoint was removed this moment: ask again", code="too_few_checkpoints")
            deleting.keep_start(unit, principal.tenant, recipe)
            unit.events.append(job_id, NOBODY, Deed("job.queued", data))

        made, replayed = once(self._database, principal, keyed, job_id, write)
        if not replayed:
            self._doorbell.ring()
        return self.get(principal, JobId(made)), replayed

    def _check_models(self, unit: WriteUnit, held: Held) -> None:
        """A recipe that cannot be read ends its job when it is claimed, with the reason."""
        job = unit.jobs.get(held.tenant, held.id)
        if job is not None and isinstance(job.posted, Recipe):
            check_models(
                job.posted, self._catalogue, "or clone the job: a clone is of the catalogue's entry as it is now"
            )

    def _whole(self, principal: Principal, job_id: JobId) -> Job:
        """With all of its recipe, for another job to be made of it."""
        with self._database.read() as unit:
            job = unit.jobs.whole(principal.tenant, known_form(job_id))
        if job is None:
            raise no_job(job_id)
        return job

    def _resolved(self, principal: Principal, request: JobRequest) -> Recipe:
        return resolve(request, self._catalogue, TenantShelf(self._database, self._store, principal))
