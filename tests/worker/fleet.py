"""Real worker processes over one database, one store and one broker; a lease of 2 s."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil

from service.adapters import catalogue, db, storage
from service.adapters.queue import Doorbell
from service.domain.artifacts import Artifact, Kind
from service.domain.ids import JobId
from service.domain.jobs import Event, Job, State
from service.domain.principals import LOCAL, LOCAL_TENANT
from service.domain.recipes import JobRequest
from service.operations.jobs import Jobs
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
FAKE, REAL = "tests.worker.fake_app", "worker.app"


class RunningWorker:
    """`celery -A … worker`, and whatever it starts."""

    def __init__(self, app: str, environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, "worker"],
                env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def has_said(self, words: str) -> bool:
        return words in self.log.read_text(errors="replace")

    def is_ready(self) -> "RunningWorker":
        """It listens to the broker, and has looked for work once."""
        eventually(lambda: self.has_said(" ready."), 30)
        return self

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def trainings(self) -> list[psutil.Process]:
        """Its children that train: a library's short-lived ones are not among them."""
        found = []
        for child in self.children():
            with suppress(psutil.Error):
                if any("child" in word for word in child.cmdline()):
                    found.append(child)
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def terminate(self, seconds: float = 30) -> int:
        """SIGTERM, and the exit code. Raises TimeoutExpired when it takes longer."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()


def thread_states(pid: int) -> list[str]:
    """A letter each, as proc(5) has them. A signal that stops a process lets each of its threads end the call that it is in."""
    states = []
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            states.append(stat.read_text().rpartition(")")[2].split()[0])
    return states


class Fleet:
    def __init__(self, folder: Path, database_url: str, broker_url: str, catalogue_file: Path) -> None:
        self._folder, self._broker_url = folder, broker_url
        self._database_file = database_url.removeprefix("sqlite:///")
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("STROP_")} | {
            "STROP_STATE_DIR": str(folder),
            "STROP_DATABASE_URL": database_url,
            "STROP_BROKER_URL": broker_url,
            "STROP_CATALOGUE": str(catalogue_file),
            "STROP_LEASE_SECONDS": "2",
            "STROP_BACKOFF_SECONDS": "0",
            "STROP_POLL_SECONDS": "0.2",
            "OMP_NUM_THREADS": "1",
        }
        self._workers: list[RunningWorker] = []
        self.database = db.connect(database_url)
        self.store = storage.make(f"file://{folder / 'store'}")
        self.jobs = Jobs(self.database, Doorbell(broker_url), catalogue.load(catalogue_file), self.store)

    def worker(self, app: str = FAKE, **settings: object) -> RunningWorker:
        given = {f"STROP_{name.upper()}": str(value) for name, value in settings.items()}
        log = self._folder / f"worker-{len(self._workers)}.log"
        self._workers.append(RunningWorker(app, self._environment | given, log))
        return self._workers[-1]

    def freeze(self, worker: RunningWorker) -> psutil.Process:
        """SIGSTOP, and not in the middle of a write: SQLite would let nobody else write for as long as it lasts."""
        process = psutil.Process(worker.process.pid)

        def frozen() -> bool:
            process.suspend()
            eventually(lambda: all(state == "T" for state in thread_states(process.pid)))
            with closing(sqlite3.connect(self._database_file, timeout=0, isolation_level=None)) as probe:
                try:
                    probe.execute("BEGIN IMMEDIATE")
                    return True
                except sqlite3.OperationalError:
                    process.resume()
                    return False

        eventually(frozen)
        return process

    def submit(self, play: str = "finish", *, seconds: float = 0.02, **change: Any) -> JobId:
        fields: dict[str, Any] = {
            "base_model": "b",
            "prompts": ["a red dot"],
            "reward": {"type": "jpeg-compressibility"},
        }
        fields |= {"steps": 6, "checkpoint_every": 2, "metadata": {"play": play, "seconds": str(seconds)}}
        return self.jobs.submit(LOCAL, JobRequest(**(fields | change)))[0].id

    def job(self, job: JobId) -> Job:
        return self.jobs.get(LOCAL, job)

    def reaches(self, job: JobId, state: State, seconds: float = 60) -> Job:
        def there() -> Job | None:
            found = self.job(job)
            assert found.state in (state, State.QUEUED, State.RUNNING, State.FINALIZING, State.CANCELLING), found.error
            return found if found.state is state else None

        return eventually(there, seconds) or self.job(job)

    def trains(self, job: JobId, step: int = 1, seconds: float = 30) -> None:
        eventually(lambda: self.job(job).progress.step >= step, seconds)

    def events(self, job: JobId, kind: str) -> list[Event]:
        found: list[Event] = []
        while (page := self.jobs.events(LOCAL, job, after=len(found), limit=100)).items:
            found.extend(page.items)
        return [event for event in found if event.type == kind]

    def artifacts(self, job: JobId, kind: Kind) -> list[Artifact]:
        with self.database.read() as unit:
            return unit.artifacts.of(LOCAL_TENANT, job, kind)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        self.database.close()
