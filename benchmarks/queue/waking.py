"""From a job's commit to the commit of its claim, by an idle worker and between two queued jobs, beside a bare Celery task.

Both are measured in one run, A B A B, on the same PostgreSQL (fsync on) and the same broker. Times of commits are
PostgreSQL's own (track_commit_timestamp), of rows that nothing changes afterwards; it notes them just before it flushes, so
that an interval from commit to commit has one flush in it, on either side.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import psycopg

from benchmarks.queue import bare
from service.adapters import db
from service.domain.ids import JobId
from service.domain.jobs import State
from tests.eventually import eventually
from tests.worker.fleet import REAL, ROOT, Fleet

REST_SECONDS = 0.3
"""After a job's end: by then its worker is idle."""

COMMITTED = "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM "


@dataclass
class Times:
    """Seconds, one for each round."""

    woken_ours: list[float] = field(default_factory=list)
    woken_bare: list[float] = field(default_factory=list)
    next_ours: list[float] = field(default_factory=list)
    next_bare: list[float] = field(default_factory=list)
    first_step: list[float] = field(default_factory=list)
    first_step_real: list[float] = field(default_factory=list)


class Ours:
    """The real worker with a child that does next to nothing."""

    def __init__(self, folder: Path, database_url: str, broker_url: str, connection: psycopg.Connection) -> None:
        (folder / "base").mkdir()
        catalogue = folder / "catalogue.toml"
        catalogue.write_text('[bases.b]\nsource = "base"\nfamily = "sd"\n')
        self._folder, self._connection = folder, connection
        self.fleet = Fleet(folder, database_url, broker_url, catalogue)

    def post(self) -> tuple[JobId, Path]:
        exit_path = self._folder / f"exit-{os.urandom(8).hex()}"
        return self.fleet.submit(
            steps=2, seconds=0.001, metadata={"seconds": "0.001", "exit": str(exit_path)}
        ), exit_path

    def done(self, job: JobId) -> None:
        self.fleet.reaches(job, State.SUCCEEDED, 120)

    def committed(self, job: JobId, event: str) -> float:
        """When the first event of that type was committed."""
        asked = f"{COMMITTED} events WHERE job_id = %s AND type = %s ORDER BY number LIMIT 1"
        return _one(self._connection, asked, job, event)


class Bare:
    def __init__(self, folder: Path, connection: psycopg.Connection) -> None:
        self._folder, self._connection, self._last = folder, connection, 0
        connection.execute(bare.TABLES)

    def post(self, *, with_child: bool) -> tuple[int, Path]:
        self._last += 1
        exit_path = self._folder / f"bare-{self._last}"
        bare.post(self._connection, self._last, str(exit_path) if with_child else None)
        return self._last, exit_path

    def done(self, row: int) -> None:
        asked = "SELECT state FROM bare WHERE id = %s"
        eventually(lambda: self._connection.execute(asked, (row,)).fetchone() == ("running",), 120)

    def posted(self, row: int) -> float:
        return _one(self._connection, f"{COMMITTED} bare_posted WHERE id = %s", row)

    def begun(self, row: int) -> float:
        return _one(self._connection, f"{COMMITTED} bare WHERE id = %s", row)


def _one(connection: psycopg.Connection, asked: str, *values: object) -> float:
    found = connection.execute(asked, values).fetchone()
    assert found is not None and found[0] is not None, (asked, values)
    return float(found[0])


def ended(path: Path) -> float:
    """When the child that writes there ended."""
    eventually(lambda: path.exists() and path.read_text(), 60)
    return float(path.read_text())


@contextmanager
def places(folder: Path, database_url: str, broker_url: str) -> Iterator[tuple[Ours, Bare]]:
    """Both workers, idle, on the same servers."""
    with ExitStack() as stack:
        migrated = db.connect(database_url, connections=1)
        db.upgrade(migrated)
        migrated.close()
        connection = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        ours = Ours(folder, database_url, broker_url, connection)
        stack.callback(ours.fleet.close)
        bare.app.conf.broker_url = broker_url
        theirs = Bare(folder, connection)
        ours.fleet.worker("benchmarks.queue.ours", poll_seconds=5, lease_seconds=30).is_ready()
        stack.enter_context(_bare_worker(folder, database_url, broker_url))
        yield ours, theirs


@contextmanager
def _bare_worker(folder: Path, database_url: str, broker_url: str) -> Iterator[None]:
    environment = os.environ | {bare.DATABASE: database_url, bare.BROKER: broker_url}
    words = [sys.executable, "-m", "celery", "-A", "benchmarks.queue.bare", "worker", "--loglevel", "INFO"]
    log = folder / "bare.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, env=environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        eventually(lambda: " ready." in log.read_text(errors="replace"), 60)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def run(ours: Ours, theirs: Bare, rounds: int, pairs: int) -> Times:
    """A B A B: each waits until the other is idle again."""
    times = Times()
    for turn in told("a job for an idle worker", rounds + 1):
        job, _ = ours.post()
        ours.done(job)
        sleep(REST_SECONDS)
        row, _ = theirs.post(with_child=False)
        theirs.done(row)
        sleep(REST_SECONDS)
        if turn:  # the first of each opens connections
            queued = ours.committed(job, "job.queued")
            times.woken_ours.append(ours.committed(job, "job.started") - queued)
            times.first_step.append(ours.committed(job, "job.step") - queued)
            times.woken_bare.append(theirs.begun(row) - theirs.posted(row))
    for _ in told("two jobs after each other", pairs):
        (first, exit_path), (second, _) = ours.post(), ours.post()
        for job in (first, second):
            ours.done(job)
        times.next_ours.append(ours.committed(second, "job.started") - ended(exit_path))
        sleep(REST_SECONDS)
        (_, exit_path), (row, last) = theirs.post(with_child=True), theirs.post(with_child=True)
        ended(last)
        times.next_bare.append(theirs.begun(row) - ended(exit_path))
        sleep(REST_SECONDS)
    return times


def told(what: str, rounds: int) -> Iterator[int]:
    """`range(rounds)`, with a line now and then that says how far it is and how long it will take."""
    began = monotonic()
    for turn in range(rounds):
        yield turn
        if (turn + 1) % max(1, rounds // 10) == 0:
            left = (monotonic() - began) / (turn + 1) * (rounds - turn - 1)
            print(f"{what}: {turn + 1} of {rounds} rounds, about {left:.0f} s left", flush=True)


def real_first_steps(folder: Path, database_url: str, broker_url: str, rounds: int) -> list[float]:
    """From the commit to the first step's event, with the child that loads torch and the small base."""
    fleet = Fleet(folder, database_url, broker_url, ROOT / "catalogue.toml")
    fleet.worker(REAL, poll_seconds=5, lease_seconds=30).is_ready()
    body = {"base_model": "shapes", "reward": {"type": "jpeg-compressibility"}, "steps": 1, "samples": {"every": 0}}
    method = {
        "type": "sharpening-rlhf",
        "candidates": 2,
        "rollout_steps": 2,
        "prompts_per_step": 1,
        "timesteps_per_pair": 1,
    }
    found = []
    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for _ in told("a real job", rounds):
                job = fleet.submit(**body, method=method, lora={"rank": 4})
                fleet.reaches(job, State.SUCCEEDED, 300)
                at = [
                    _one(
                        connection,
                        f"{COMMITTED} events WHERE job_id = %s AND type = %s ORDER BY number LIMIT 1",
                        job,
                        kind,
                    )
                    for kind in ("job.queued", "job.step")
                ]
                found.append(at[1] - at[0])
    finally:
        fleet.close()
    return found
