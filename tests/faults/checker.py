"""The invariants, read off the append-only event table, the rows beside it, the store, and the processes that still live.

I1  each submit or retry reaches exactly one terminal state, unless paused: a job's events are a path of the transition
    table that ends where its row says, and nobody is left on the way
I2  at most one adapter version a job; its manifest, its file and every other row's bytes have the digests that are written
I3  no write by a stale fence: events carry the fence of the last claim, attempts write only while they own the job, and
    no file's row is younger than the end of its attempt
I4  no accepted submit is lost, and an Idempotency-Key made one job
I5  nothing runs after cancel + grace: the job is cancelled in time, and no child lives for a job that nobody owns

Independent of the code that it judges, but for the names of states and the table of transitions, which are data.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from service.domain.errors import StropError
from service.domain.jobs import OWNED, TERMINAL, TRANSITIONS, State
from service.domain.outside import Store
from tests.faults.history import History

GRACE_SECONDS = 10.0
"""From a cancel to its end: 5 s or two steps, 1 s from TERM to KILL, a lease of 2 s where the worker died, and 2 s of load."""
_WORDS = {
    "job.queued": State.QUEUED,
    "job.requeued": State.QUEUED,
    "job.started": State.RUNNING,
    **{f"job.{state}": state for state in State if state not in (State.QUEUED, State.RUNNING)},
}


@dataclass(frozen=True, order=True)
class Violation:
    name: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


@dataclass(frozen=True)
class Evidence:
    """What the tables alone do not tell. `accepted`: Idempotency-Key (or any name of a submit) → the ids that it was
    answered with. `alive`: (job, fence) of each child that lives. `damaged`: keys whose bytes the test itself changed."""

    accepted: Mapping[str, Collection[str]] = field(default_factory=dict)
    alive: Collection[tuple[str, int]] = ()
    damaged: Collection[str] = ()
    grace_seconds: float = GRACE_SECONDS


def check(history: History, store: Store, evidence: Evidence) -> list[Violation]:
    """All that is wrong, by name. An empty list is the whole point."""
    found: list[Violation] = []
    for job in history.jobs.values():
        found += _life(history, job)
        found += _cancelled_in_time(history, job, evidence.grace_seconds)
    found += _one_version(history)
    found += _digests(history, store, evidence.damaged)
    found += _files_in_time(history)
    found += _submits(history, evidence)
    found += _children(history, evidence.alive)
    return sorted(set(found))


def _life(history: History, job: Row[Any]) -> Iterator[Violation]:
    """I1 and I3: replay the events."""
    state: State | None = None
    fence = 0
    events = history.events.get(job.id, ())
    numbers = [event.number for event in events]
    if numbers != list(range(1, job.event_count + 1)):
        yield Violation("I1", f"{job.id} counts {job.event_count} events and has the numbers {numbers[:3]}…")
    for event in events:
        here = f"{job.id}, event {event.number} ({event.type}, fence {event.fence})"
        if event.type == "job.started":
            if event.fence != fence + 1:
                yield Violation("I3", f"{here}: the fence before was {fence}")
            fence = event.fence
        elif event.fence != fence:
            yield Violation("I3", f"{here}: attempt {fence} owns the job")
        if event.type not in _WORDS and state not in OWNED:  # steps, files, log lines: only attempts tell of them
            yield Violation("I3", f"{here}: the job was {state}, nobody's")
        if (to := _WORDS.get(event.type)) is not None:
            if to not in ({State.QUEUED} if state is None else TRANSITIONS[state]):
                yield Violation("I1", f"{here}: the job was {state}")
            state = to
    if state != State(job.state):
        yield Violation("I1", f"{job.id} is {job.state}, but its events end {state}")
    if state not in TERMINAL | {State.PAUSED}:
        yield Violation("I1", f"{job.id} is left {state}")
    tried = [attempt.fence for attempt in history.attempts.get(job.id, ())]
    if tried != list(range(1, job.fence + 1)) or job.fence != fence:
        yield Violation("I3", f"{job.id} has fence {job.fence}, attempts {tried}, and its last start was {fence}")


def _cancelled_in_time(history: History, job: Row[Any], grace_seconds: float) -> Iterator[Violation]:
    asked = history.of_type(job.id, "job.cancelling")
    done = history.of_type(job.id, "job.cancelled")
    if asked and done and (took := (done[0].created_at - asked[0].created_at).total_seconds()) > grace_seconds:
        yield Violation("I5", f"{job.id} took {took:.1f} s from its cancel to its end")


def _one_version(history: History) -> Iterator[Violation]:
    for job in history.jobs.values():
        versions = [version for version in history.versions if version.job_id == job.id]
        if len(versions) != (job.state == State.SUCCEEDED):
            yield Violation("I2", f"{job.id} is {job.state} and has {len(versions)} adapter versions")
        told = [event.data["manifest_sha256"] for event in history.of_type(job.id, "job.succeeded")]
        if told != [version.manifest_sha256 for version in versions]:
            yield Violation("I2", f"{job.id} told of the manifests {told}")


def _digests(history: History, store: Store, damaged: Collection[str]) -> Iterator[Violation]:
    """Every row's bytes, and the manifest's word on the adapter."""
    rows = {artifact.key: artifact for artifact in history.artifacts}
    contents: dict[str, bytes] = {}
    for key, artifact in rows.items():
        if key in damaged:
            continue
        data = contents[key] = _read(store, key)
        if (len(data), hashlib.sha256(data).hexdigest()) != (artifact.bytes, artifact.sha256):
            yield Violation("I2", f"{key} is torn: {len(data)} of {artifact.bytes} bytes, or others")
    for version in history.versions:
        if version.manifest_key in damaged:
            continue
        row = rows.get(version.manifest_key)
        if row is None or row.sha256 != version.manifest_sha256:
            yield Violation("I2", f"{version.name}@{version.version}: its manifest has another digest, or no row")
            continue
        files = {(file["fence"], file["name"]): file["sha256"] for file in _files(contents[version.manifest_key])}
        its_file = rows.get(f"jobs/{version.job_id}/{version.file_fence}/{version.file_name}")
        if its_file is None or files.get((version.file_fence, version.file_name)) != its_file.sha256:
            yield Violation("I2", f"{version.name}@{version.version}: its adapter is not the one of its manifest")


def _read(store: Store, key: str) -> bytes:
    try:
        return b"".join(store.open(key))
    except StropError:
        return b""


def _files(manifest: bytes) -> list[dict[str, Any]]:
    try:
        return list(json.loads(manifest)["files"])
    except ValueError:
        return []


def _files_in_time(history: History) -> Iterator[Violation]:
    ended = {
        (attempt.job_id, attempt.fence): attempt.ended_at
        for attempts in history.attempts.values()
        for attempt in attempts
    }
    for artifact in history.artifacts:
        end = ended.get((artifact.job_id, artifact.fence))
        if end is not None and artifact.created_at > end:
            yield Violation("I3", f"{artifact.key} got its row after the end of attempt {artifact.fence}")


def _submits(history: History, evidence: Evidence) -> Iterator[Violation]:
    for key, answers in evidence.accepted.items():
        if len(set(answers)) > 1:
            yield Violation("I4", f"the key {key} was answered with {len(set(answers))} jobs")
        for lost in set(answers) - history.jobs.keys():
            yield Violation("I4", f"{lost} was accepted as {key} and is gone")
    posted: dict[str, list[str]] = {}
    for job in history.jobs.values():
        if key := job.recipe["metadata"].get("key"):
            posted.setdefault(key, []).append(job.id)
    for key, jobs in posted.items():
        if len(jobs) > 1:
            yield Violation("I4", f"the key {key} made {len(jobs)} jobs")


def _children(history: History, alive: Collection[tuple[str, int]]) -> Iterator[Violation]:
    for id, fence in alive:
        job = history.jobs.get(id)
        if job is None or State(job.state) not in OWNED or job.fence != fence:
            yield Violation("I5", f"a child of {id}, attempt {fence}, lives, and the job is {job and job.state}")
