"""Faults of the store, and of those who write their end into the database at the same time."""

import random
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from service.adapters import db
from service.domain.artifacts import Kind
from service.domain.errors import Damaged, StropError
from service.domain.jobs import State
from service.domain.principals import LOCAL_TENANT
from service.operations import finishing
from service.operations.attempts import Attempts
from tests.eventually import eventually
from tests.faults import history
from tests.faults.http_traps import answer_500, half_then_cut, half_then_lie
from tests.faults.proxy import Trap, stall
from tests.faults.row import BOTH, REAL, Figures, Row
from tests.faults.site import CALM, Site, now
from worker.tasks import OFFERS

UPLOAD = b"PUT /"


def s3_fails(site: Site, rounds: int) -> Figures:
    """Of each job's uploads some are answered with 500, cut after half a body, left without an answer, or taken by half
    while the answer says 200. Twice a job: now a checkpoint is hit, now the adapter, now the manifest."""
    direct = site.store
    proxy = site.proxy("store")
    site.settings |= CALM
    site.worker()

    def store_half(path: str, data: bytes) -> None:
        part = site.folder / f"half-{threading.get_ident()}"
        part.write_bytes(data)
        direct.put_file(path.split("/", 3)[3], part)  # /bucket/prefix/key

    plays = (answer_500, half_then_cut, half_then_lie(store_half))
    sprung = 0
    for number in range(rounds):
        id = site.submit(steps=4, checkpoint_every=2)
        for _ in range(2):
            proxy.trap = trap = Trap(UPLOAD, plays[number % len(plays)], times=random.randint(1, 2))
            with suppress(AssertionError):
                eventually(lambda trap=trap, id=id: trap.sprung or site.job(id).state is State.SUCCEEDED, 20)
            sprung += trap.sprung
        proxy.trap = None
        site.reaches(id, State.SUCCEEDED, State.FAILED, seconds=60)
    figures = _torn(site)
    return {"torn": figures, "uploads hit": sprung, **_ends(site)}


def s3_times_out(site: Site, rounds: int) -> Figures:
    """An upload is taken and never answered: the client's own time-out (30 s) ends it. The lease is kept all the while."""
    proxy = site.proxy("store")
    site.settings |= CALM
    site.worker()
    for _ in range(rounds):
        proxy.trap = Trap(UPLOAD, stall)
        site.reaches(site.submit(), State.SUCCEEDED, State.FAILED, seconds=120)
    told = history.read(site.database)
    causes = [attempt.cause for attempts in told.attempts.values() for attempt in attempts]
    return {"torn": _torn(site), "leases lost": causes.count("lease_lost"), **_ends(site)}


def _torn(site: Site) -> int:
    """Rows whose bytes are not what the row says."""
    return sum(violation.name == "I2" for violation in site.verdict()[0])


def _ends(site: Site) -> Figures:
    states = [job.state for job in history.read(site.database).jobs.values()]
    return {"succeeded": states.count(State.SUCCEEDED), "failed": states.count(State.FAILED)}


def finish_beside(site: Site, rounds: int) -> Figures:
    """A worker that has just written its manifest sleeps until its lease is over and its job is another's; then both finish
    at once, over connections of their own."""
    double = wedged = wrong = 0
    with closing(db.connect(site.environment()["STROP_DATABASE_URL"], connections=4)) as others:
        stale, rightful = (
            Attempts(each, site.store, lease_seconds=1.0, backoff_seconds=0) for each in (site.database, others)
        )
        for number in range(rounds):
            id = site.submit()
            first = _trained(stale, site.folder, "first")
            begun, kept = finishing.begin(site.database, id, first, finishing.Spent(1, 1.0))
            manifest = finishing.write_manifest(site.store, begun, kept, finishing.Spent(1, 1.0), "test")
            moment = now() + 1.0
            eventually(lambda moment=moment: now() > moment, 5)
            second = _trained(rightful, site.folder, "second")
            told = _at_once(
                lambda begun=begun, kept=kept, manifest=manifest: finishing.end(
                    site.database, begun, finishing.newest_adapter(kept), manifest, "completed"
                ),
                lambda id=id, second=second: rightful.succeed(
                    id, second, training_nfe=1, training_fe=1.0, code_version="test"
                ),
                first_is_late=number % 2 * 0.005,
            )
            double += all(not isinstance(each, Exception) for each in told)
            wedged += site.job(id).state is not State.SUCCEEDED
            wrong += not isinstance(told[0], StropError) or isinstance(told[1], Exception)
    return {"double": double, "wedged": wedged, "the wrong one won": wrong}


def _trained(attempts: Attempts, folder: Path, name: str) -> Any:
    """Claim the job that waits, keep an adapter for it, and return the fence."""
    claim = attempts.claim(name, "cpu", OFFERS)
    assert claim is not None
    path = folder / f"adapter-{name}"
    path.write_bytes(f"{name} of {claim.job.id}".encode())
    attempts.keep(claim.job.id, claim.job.fence, 6, Kind.ADAPTER, "pytorch_lora_weights.safetensors", path)
    return claim.job.fence


def _at_once(*calls: Callable[[], Any], first_is_late: float) -> list[Any]:
    gate, told = threading.Barrier(len(calls)), [None] * len(calls)

    def run(place: int) -> None:
        gate.wait()
        if place == 0 and first_is_late:
            threading.Event().wait(first_is_late)
        try:
            told[place] = calls[place]()
        except Exception as error:
            told[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return told


def byte_flips(site: Site, rounds: int) -> Figures:
    """One bit-pattern of one byte of a stored file is changed, and back. Checkpoints, adapters and manifests are read as
    the worker reads them; for each twentieth a worker resumes from a damaged checkpoint and must take the one before."""
    site.worker()
    site.submit(steps=8)
    site.settle(30)
    attempts = Attempts(site.database, site.store)
    with site.database.read() as unit:
        (job,) = history.read(site.database).jobs
        kept = unit.artifacts.of(LOCAL_TENANT, job)
    undetected = 0
    for number in range(rounds):
        artifact = kept[number % len(kept)]
        whole = b"".join(site.store.open(artifact.key))
        flip(site, artifact.key, whole)
        with suppress(Damaged):
            attempts.read(artifact, site.folder / "read")
            undetected += 1
        put(site, artifact.key, whole)
    return {"undetected": undetected, **_fall_backs(site, max(1, rounds // 20))}


def _fall_backs(site: Site, times: int) -> Figures:
    missed = 0
    for _ in range(times):
        id = site.submit(steps=60, seconds=0.03, checkpoint_every=10)
        eventually(lambda id=id: len(_checkpoints(site, id)) >= 2, 30)
        worker = site.owner(id)
        assert worker is not None
        worker.kill()
        newest = _checkpoints(site, id)[-1]
        flip(site, newest.key, b"".join(site.store.open(newest.key)))
        site.damaged.add(newest.key)
        site.worker()
        site.reaches(id, State.SUCCEEDED, seconds=60)
        told = history.read(site.database)
        warned = told.of_type(id, "job.checkpoint_damaged")
        resumed = [event.step for event in told.of_type(id, "job.resumed")]
        missed += not warned or resumed != [newest.step - 10]
    return {"falls back": times, "did not fall back": missed}


def _checkpoints(site: Site, id: str) -> list[Any]:
    return [row for row in history.read(site.database).artifacts if row.job_id == id and row.kind == Kind.CHECKPOINT]


def flip(site: Site, key: str, whole: bytes) -> None:
    place = random.randrange(len(whole))
    changed = bytes([whole[place] ^ random.randint(1, 255)])
    put(site, key, whole[:place] + changed + whole[place + 1 :])


def put(site: Site, key: str, data: bytes) -> None:
    path = site.folder / "flipped"
    path.write_bytes(data)
    site.store.put_file(key, path)


ROWS = (
    Row("S3 answers 500, cuts or takes half a body", "no torn artifact visible", s3_fails, 30, 3, (5, 4), REAL,
        none=("torn",), settle_seconds=60),
    Row("S3 times out", "no torn artifact visible", s3_times_out, 1, 0, (5, 40), REAL, none=("torn", "leases lost")),
    Row("a stale attempt finishes beside the rightful one", "one wins, the right one", finish_beside, 50, 3, (1, 1.2),
        none=("double", "wedged", "the wrong one won")),
    Row("one byte flipped in a stored file", "refused, falls back", byte_flips, 200, 20, (5, 0.35), BOTH,
        none=("undetected", "did not fall back")),
)  # fmt: skip
