"""A workshop: SQLite, a folder store, the operations, and a worker whose children are the fake one, all real but the learning."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.adapters import db
from service.domain.artifacts import Artifact, Kind
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.ids import JobId
from service.domain.jobs import Event, Job, State
from service.domain.outside import Store
from service.domain.principals import LOCAL, LOCAL_TENANT
from service.domain.recipes import JobRequest
from service.operations.attempts import Attempts
from service.operations.jobs import Jobs
from service.telemetry import Pulse
from tests.eventually import eventually
from worker.attempt.attempt import Attempt, Workplace
from worker.attempt.scratch import Scratch
from worker.attempt.stock import Stock
from worker.attempt.watch import Patience
from worker.tasks import OFFERS, Worker

FAKE_CHILD = (sys.executable, "-P", str(Path(__file__).with_name("fake_child.py")))
LEASE = 6.0
"""Long enough for a loaded machine; `use_lease` is for tests of it."""


class CountingBell:
    def __init__(self) -> None:
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1


class Workshop:
    def __init__(self, folder: Path, database_url: str, store: Store) -> None:
        self.folder = folder
        self.database = db.connect(database_url)
        self.keeping = db.connect(database_url, connections=1)
        self.store = store
        (folder / "base").mkdir()
        self.use_catalogue(Catalogue(bases={"b": BaseModelEntry(name="b", source=str(folder / "base"), family="sd")}))
        self.bell = CountingBell()
        self.use_lease(LEASE)
        self.scratch = Scratch(folder / "scratch")

    def use_catalogue(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.jobs = Jobs(self.database, CountingBell(), catalogue, self.store)

    def use_lease(self, seconds: float) -> None:
        self.lease = seconds
        self.attempts = Attempts(self.database, self.store, lease_seconds=seconds, backoff_seconds=0)

    def submit(
        self,
        play: str = "finish",
        *,
        seconds: float = 0.01,
        steps: int = 6,
        every: int = 2,
        best: int = 0,
        waits: int = -1,
    ) -> JobId:
        fields: dict[str, Any] = {
            "base_model": "b",
            "prompts": ["a red dot"],
            "reward": {"type": "jpeg-compressibility"},
        }
        metadata = {"play": play, "seconds": str(seconds), "best": str(best), "waits": str(waits)}
        request = JobRequest(**fields, steps=steps, checkpoint_every=every, metadata=metadata)
        return self.jobs.submit(LOCAL, request)[0].id

    def place(self, **patience: float) -> Workplace:
        return Workplace(
            attempts=self.attempts,
            keeping=Attempts(self.keeping, self.store, lease_seconds=self.lease),
            stock=Stock(self.catalogue),
            scratch=self.scratch,
            cache=self.folder / "cache",
            device="cpu",
            threads=1,
            patience=Patience(
                **({"lease": self.lease, "step_timeout": 30.0, "grace": 0.3, "hand_back": 2.0} | patience)
            ),
            doorbell=self.bell,
            code_version="test",
            command=FAKE_CHILD,
        )

    def attempt(self, **patience: float) -> Attempt:
        """Claim the next job; run the attempt with `run()`."""
        claim = self.attempts.claim("tester", None, OFFERS)
        assert claim is not None
        return Attempt(claim, self.place(**patience))

    def worker(self, **patience: float) -> Worker:
        return Worker("tester", self.place(**patience), 0.1, OFFERS, Pulse(patience=60))

    def job(self, job: JobId) -> Job:
        return self.jobs.get(LOCAL, job)

    def events(self, job: JobId, kind: str | None = None) -> list[Event]:
        found: list[Event] = []
        while (page := self.jobs.events(LOCAL, job, after=len(found), limit=100)).items:
            found.extend(page.items)
        return [event for event in found if kind in (None, event.type)]

    def artifacts(self, job: JobId, kind: Kind | None = None) -> list[Artifact]:
        with self.database.read() as unit:
            return unit.artifacts.of(LOCAL_TENANT, job, kind)

    def reaches(self, job: JobId, state: State, seconds: float = 60) -> Job:
        return eventually(lambda: (found := self.job(job)).state is state and found, seconds) or self.job(job)

    def rewrite(self, artifact: Artifact, change: Callable[[bytes], bytes]) -> bytes:
        """Change a stored file behind everybody's back; returns what it is now."""
        changed = change(b"".join(self.store.open(artifact.key)))
        path = self.folder / "rewritten"
        path.write_bytes(changed)
        self.store.put_file(artifact.key, path)
        return changed

    def child(self) -> psutil.Process:
        """The one that runs now."""

        def ours() -> list[psutil.Process]:
            return [child for child in psutil.Process().children() if FAKE_CHILD[-1] in child.cmdline()]

        return eventually(ours)[0]

    def trains(self, job: JobId, step: int = 1) -> None:
        eventually(lambda: self.job(job).progress.step >= step)

    def close(self) -> None:
        self.scratch.close()
        self.database.close()
        self.keeping.close()


@pytest.fixture
def workshop(tmp_path: Path, sqlite_url: str, folder_store: Store) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path, sqlite_url, folder_store)
    yield workshop
    workshop.close()


@pytest.fixture
def workshop_on_each_store(tmp_path: Path, sqlite_url: str, store: Store) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path, sqlite_url, store)
    yield workshop
    workshop.close()


class Aside(threading.Thread):
    """Something that runs beside the test and must have ended by its end."""

    def __enter__(self) -> "Aside":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join(20)
        assert not self.is_alive()
