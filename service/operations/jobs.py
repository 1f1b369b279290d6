"""A job as its owner sees it: posted, read, listed, cancelled, followed."""

import hashlib
import re
from functools import partial

from service.domain.catalogue import Catalogue
from service.domain.errors import FieldError, InvalidRequest
from service.domain.files import FileKind
from service.domain.ids import Fence, FileId, JobId, new_job_id
from service.domain.jobs import Event, Job, State
from service.domain.pages import Page, Position, check_limit, cut
from service.domain.ports import Database, Deed, Doorbell, Store, Submission
from service.domain.principals import Principal
from service.domain.recipes import JobRequest, Recipe
from service.operations import prompt_files
from service.operations.known import known_form, no_job
from service.operations.moves import move
from service.operations.resolving import resolve

KEEP_KEYS_SECONDS = 24 * 3600.0
_KEY = re.compile(r"[!-~]{1,255}")


class Jobs:
    def __init__(self, database: Database, doorbell: Doorbell, catalogue: Catalogue, store: Store) -> None:
        self._database, self._doorbell = database, doorbell
        self._catalogue, self._store = catalogue, store

    def submit(
        self, principal: Principal, request: JobRequest, *, idempotency_key: str | None = None, body: bytes = b""
    ) -> tuple[Job, bool]:
        """Queue a job; (job, was it a replay). With a key, the same body makes one job however often it comes.

        Raises InvalidRequest: names that are not in the catalogue, unusable prompts, a key with another body.
        """
        told = None if idempotency_key is None else (_checked(idempotency_key), _digest(request, body))
        if told and (known := self._replayed(principal, *told)):
            return known, True
        recipe = resolve(request, self._catalogue, partial(self._read_prompts, principal))
        job_id = new_job_id()
        if not self._write(principal, job_id, recipe, told):
            assert told is not None
            replayed = self._replayed(principal, *told)
            assert replayed is not None, "a key that is taken is found"
            return replayed, True
        self._doorbell.ring()
        return self.get(principal, job_id), False

    def get(self, principal: Principal, job_id: JobId) -> Job:
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
        self, principal: Principal, *, state: State | None = None, cursor: str | None = None, limit: int = 20
    ) -> Page[Job]:
        """Newest first."""
        after = Position.parse(cursor) if cursor else None
        with self._database.read() as unit:
            jobs = unit.jobs.page(principal.tenant, state, after, check_limit(limit) + 1)
        return cut(jobs, limit, lambda job: Position(job.created_at, job.id).cursor())

    def cancel(self, principal: Principal, job_id: JobId) -> Job:
        """At once where nobody runs it, else at its next step. Again is no error; a finished job is: InvalidTransition."""
        with self._database.write() as unit:
            held = unit.jobs.lock(principal.tenant, known_form(job_id))
            if held is None:
                raise no_job(job_id)
            if held.state not in (State.CANCELLING, State.CANCELLED):
                waiting = held.state in (State.QUEUED, State.PAUSED)
                move(unit, held, State.CANCELLED if waiting else State.CANCELLING)
        return self.get(principal, job_id)

    def events(self, principal: Principal, job_id: JobId, *, after: int = 0, limit: int = 100) -> Page[Event]:
        """In order, those numbered above `after`."""
        with self._database.read() as unit:
            if unit.jobs.version(principal.tenant, known_form(job_id)) is None:
                raise no_job(job_id)
            events = unit.events.after(principal.tenant, job_id, after, check_limit(limit) + 1)
        return cut(events, limit, lambda event: str(event.number))

    def _write(self, principal: Principal, job_id: JobId, recipe: Recipe, told: tuple[str, str] | None) -> bool:
        """Job and idempotency row in one transaction. False: the key is taken, and nothing was written."""
        with self._database.write() as unit:
            if told and not unit.idempotency.take(principal.tenant, *told, job_id, KEEP_KEYS_SECONDS):
                return False
            unit.jobs.add(Submission(job_id, principal.tenant, recipe, recipe.adapter_name or job_id))
            unit.events.append(job_id, NOBODY, Deed("job.queued", {}))
            return True

    def _replayed(self, principal: Principal, key: str, digest: str) -> Job | None:
        with self._database.read() as unit:
            known = unit.idempotency.find(principal.tenant, key)
            if known is None:
                return None
            if known[0] != digest:
                remedy = "send the same body as before, or use a new key for a new job"
                wrong = FieldError("Idempotency-Key", "the key was used with another body", remedy)
                raise InvalidRequest(wrong.message, errors=(wrong,), code="idempotency_key_reused")
            return unit.jobs.get(principal.tenant, JobId(known[1]))

    def _read_prompts(self, principal: Principal, file_id: str) -> tuple[str, ...]:
        with self._database.read() as unit:
            file = unit.files.get(principal.tenant, FileId(file_id))
        if file is None:
            wrong = FieldError(
                "prompts_file", f"there is no file {file_id}", "upload it first: POST /files gives the id"
            )
            raise InvalidRequest(wrong.message, errors=(wrong,), code="unknown_file")
        if file.kind is FileKind.IMAGES:
            remedy = "name a file of prompts: text with one a line, or JSONL"
            wrong = FieldError("prompts_file", f"{file_id} holds pictures", remedy)
            raise InvalidRequest(wrong.message, errors=(wrong,), code="wrong_file_kind")
        return prompt_files.read(self._store, file)


NOBODY = Fence(0)
"""The fence of events that no attempt made."""


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        wrong = FieldError(
            "Idempotency-Key", "the key is empty, too long or not printable", "send 1 to 255 printable ASCII characters"
        )
        raise InvalidRequest(wrong.message, errors=(wrong,), code="invalid_idempotency_key")
    return key


def _digest(request: JobRequest, body: bytes) -> str:
    """Over the very bytes that were sent, where the face has them; the verb is part of it."""
    return hashlib.sha256(b"POST /jobs\n" + (body or request.model_dump_json().encode())).hexdigest()
