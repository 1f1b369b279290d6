"""A job's files as their owner sees them. Readers start from rows: an object without one does not exist."""

from collections.abc import Iterator

from service.domain.artifacts import Artifact
from service.domain.errors import NotFound
from service.domain.ids import Fence, JobId
from service.domain.outside import Store
from service.domain.ports import Database
from service.domain.principals import Principal
from service.operations.known import known_form, no_job

PUBLIC_SECONDS = 3600


class Artifacts:
    def __init__(self, database: Database, store: Store) -> None:
        self._database, self._store = database, store

    def find(self, principal: Principal, job_id: JobId, fence: Fence, name: str) -> Artifact:
        with self._database.read() as unit:
            found = unit.artifacts.find(principal.tenant, known_form(job_id), fence, name.replace("\0", ""))
        if found is None:
            raise NotFound(f"attempt {fence} of {job_id} has no file {name[:64]!r}")
        return found

    def read(self, artifact: Artifact, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in pieces. Raises Damaged or Unavailable, at the latest then."""
        return self._store.open(artifact.key, start, end)

    def public_url(self, artifact: Artifact) -> str | None:
        """A presigned link straight to the store, where the operator opened it; else None."""
        return self._store.public_url(artifact.key, PUBLIC_SECONDS)

    def list(self, principal: Principal, job_id: JobId) -> list[Artifact]:
        """Every file of the job, by step, then fence. Where a step was run twice, the highest fence counts."""
        with self._database.read() as unit:
            if unit.jobs.version(principal.tenant, known_form(job_id)) is None:
                raise no_job(job_id)
            return unit.artifacts.of(principal.tenant, job_id)
