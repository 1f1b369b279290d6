"""The operations over real databases and a folder store, and a job's life in a few words."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from service.adapters.db import SqlDatabase
from service.domain.artifacts import Kind
from service.domain.catalogue import Catalogue
from service.domain.ids import Fence, TenantId
from service.domain.jobs import Job
from service.domain.offers import Offers
from service.domain.outside import Store
from service.domain.principals import LOCAL, Principal
from service.domain.recipes import JobRequest
from service.operations.adapters import Adapters
from service.operations.artifacts import Artifacts
from service.operations.attempts import Attempts, Claim
from service.operations.files import Files
from service.operations.jobs import Jobs
from service.operations.models import Models

EVERYTHING = Offers(frozenset({"sd"}), frozenset({"clip", "scene", "jpeg-compressibility"}))
OTHER = Principal(TenantId("other"))


class CountingBell:
    """A doorbell that counts."""

    def __init__(self) -> None:
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1


@dataclass
class World:
    """One database and store, with everything that is done over them."""

    database: SqlDatabase
    store: Store
    catalogue: Catalogue
    folder: Path
    bell: CountingBell = field(default_factory=CountingBell)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.database, self.bell, self.catalogue, self.store)
        self.files = Files(self.database, self.store)
        self.models = Models(self.database, self.catalogue)
        self.adapters = Adapters(self.database, self.store)
        self.artifacts = Artifacts(self.database, self.store)
        self.attempts = self.worker()

    @property
    def on_postgresql(self) -> bool:
        return self.database.engine.dialect.name == "postgresql"

    def worker(self, **settings: Any) -> Attempts:
        return Attempts(self.database, self.store, **{"attempt_limit": 3, "backoff_seconds": 0, **settings})

    def post(self, principal: Principal = LOCAL, **changes: Any) -> Job:
        return self.jobs.submit(principal, request(**changes))[0]

    def claim(self, worker: str = "w1") -> Claim:
        claim = self.attempts.claim(worker, "cpu", EVERYTHING)
        assert claim is not None, "there is a job to claim"
        return claim

    def claim_of(self, job: Job) -> Claim:
        claim = self.claim()
        assert claim.job.id == job.id
        return claim

    def run(self, **changes: Any) -> Job:
        """A job that an attempt has just begun."""
        return self.claim_of(self.post(**changes)).job

    def pretending(self, job: Job, fence: Fence) -> Job:
        return replace(job, fence=fence)

    def get(self, job: Job) -> Job:
        return self.jobs.get(Principal(job.tenant), job.id)

    def types(self, job: Job) -> list[str]:
        return [event.type for event in self.jobs.events(Principal(job.tenant), job.id).items]

    def deliver(self, name: str | None = "red", content: bytes | None = None, **changes: Any) -> Job:
        """A job that has succeeded: a version of the adapter `name`."""
        job = self.run(adapter_name=name, priority=10, **changes)
        weights = self.file(b"weights of " + job.id.encode() if content is None else content)
        self.attempts.keep(job.id, job.fence, 60, Kind.ADAPTER, "adapter.safetensors", weights)
        return self.attempts.succeed(job.id, job.fence, training_nfe=8, training_fe=9.5, code_version="1")

    def file(self, content: bytes = b"weights", name: str = "file") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def sql(self, statement: str, **values: Any) -> Any:
        """Straight to the tables: what time or an accident would do."""
        with self.database.engine.execution_options(begin_immediate=True).begin() as connection:
            result = connection.execute(text(statement), values)
            return result.all() if result.returns_rows else None

    def seconds_until_claimable(self, job: Job) -> float:
        clock = "EXTRACT(epoch FROM not_before - now())"
        if not self.on_postgresql:
            clock = "(julianday(not_before) - julianday('now')) * 86400"
        return float(self.sql(f"SELECT {clock} FROM jobs WHERE id = :id", id=job.id)[0][0])

    def end_lease(self, job: Job) -> None:
        """As if the lease had ended a while ago."""
        self.sql("UPDATE jobs SET lease_until = '2020-01-01 00:00:00.000' WHERE id = :id", id=job.id)


def request(**changes: Any) -> JobRequest:
    body = {
        "base_model": "shapes",
        "prompts": ["a red circle left of a blue square"],
        "reward": {"type": "clip", "model": "shapes-clip"},
        **changes,
    }
    return JobRequest.model_validate({name: value for name, value in body.items() if value is not None})


def run_at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run all in threads that start together; each gives its value or its exception."""
    gate = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        gate.wait()
        try:
            results[index] = calls[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
