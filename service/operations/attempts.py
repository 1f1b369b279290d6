"""An attempt's verbs, for the worker's parent. Each write asks for the fence and an owned state in the statement or under
the row lock that it rests on: an attempt that lost its job changes nothing and learns it by FenceLost.

All may be called again after Unavailable. `heartbeat` and `control` belong on a connection of their own (a second Attempts
over a second Database), so that they never queue behind an upload's bookkeeping.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from service.domain.adapters import parse_reference
from service.domain.artifacts import Artifact, Kind
from service.domain.errors import Conflict, Damaged, StropError, Unavailable
from service.domain.files import File
from service.domain.ids import Fence, FileId, JobId
from service.domain.jobs import Event, Job, JobError, Progress, State, after_lost_attempt
from service.domain.offers import Offers
from service.domain.outside import Store
from service.domain.ports import Database, Deed, Held, ReadUnit
from service.operations import certifying, finishing, prompt_files, stowing, thinning
from service.operations.moves import Limits, lose, move, put_off, reap

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is now this worker's, until the lease ends. `checkpoints` are all that there are, the newest first.

    A certificate has one at most: its parent's, that its recipe's `replay` names. Without it there is nothing to replay.
    `claimed_at` is `monotonic()` from before the claim: the lease counts from there. Prompts are the recipe's, or those of
    `prompts_file`, or the captions of `images`, an archive of pictures. `start`: the file of the adapter to begin with. `goal`:
    of a certificate, the checkpoint that its replay must meet, while it is stored.
    """

    job: Job
    claimed_at: float
    checkpoints: tuple[Artifact, ...]
    prompts_file: File | None = None
    images: File | None = None
    start: Artifact | None = None
    goal: Artifact | None = None

    @property
    def checkpoint(self) -> Artifact | None:
        return self.checkpoints[0] if self.checkpoints else None


class Attempts:
    def __init__(
        self,
        database: Database,
        store: Store,
        *,
        lease_seconds: float = 30.0,
        attempt_limit: int = 3,
        backoff_seconds: float = 5.0,
    ) -> None:
        self._database, self._store = database, store
        self._limits = Limits(lease_seconds, attempt_limit, backoff_seconds)

    def claim(self, worker: str, device: str | None, offers: Offers) -> Claim | None:
        """Take the next job that fits, or None. Reaps first. A job that names what is gone is ended, and the next taken.

        Nothing is read from the store here: nobody renews the lease yet. Raises Unavailable; a job that was taken by then is
        put off.
        """
        while True:
            claimed_at = monotonic()
            held = self._take(worker, device, offers)
            if held is None:
                return None
            try:
                return self._brief(held, claimed_at)
            except Unavailable as away:
                self.put_off(held.id, held.fence, JobError(away.code, away.message))
                raise
            except StropError as error:
                wrong = JobError(error.code, f"the job's recipe or its files cannot be had: {error.message}")
                self.fail(held.id, held.fence, wrong, cause=error.code, retry=False)

    def show(self, worker: str, offers: Offers) -> None:
        """Say that the worker looks for work, and what it offers: jobs that nobody can take are told by it (waiting.py)."""
        with self._database.write() as unit:
            unit.workers.see(worker, offers.told())

    def heartbeat(self, job_id: JobId, fence: Fence) -> State:
        """Let the lease end `lease_seconds` from now, by the database's clock. Returns the state. Raises FenceLost."""
        with self._database.write() as unit:
            return unit.jobs.renew(job_id, fence, self._limits.lease_seconds)

    def control(self, job_id: JobId, fence: Fence) -> State:
        """The state alone: has somebody cancelled or paused? Raises FenceLost."""
        with self._database.read() as unit:
            return unit.jobs.owned(job_id, fence).state

    def record(
        self,
        job_id: JobId,
        fence: Fence,
        step: int | None,
        type: str,
        data: dict[str, Any],
        *,
        progress: Progress | None = None,
    ) -> Event:
        """Write an event and, with it, how far the job is. Raises FenceLost; ValueError for `data` that is not JSON."""
        json.dumps(data, allow_nan=False)
        with self._database.write() as unit:
            return unit.events.report(job_id, fence, Deed(type, data, step), progress)

    def ready(self, job_id: JobId, fence: Fence, step: int, device: str) -> Event:
        """The child has loaded its models, on this device. Raises FenceLost."""
        with self._database.write() as unit:
            unit.jobs.place_attempt(unit.jobs.own(job_id, fence), device)
            return unit.events.report(job_id, fence, Deed("job.ready", {"device": device}, step), None)

    def keep(  # noqa: PLR0917 — what, where from
        self, job_id: JobId, fence: Fence, step: int, kind: Kind, name: str, path: Path
    ) -> Artifact:
        """Upload a file under jobs/<id>/<fence>/, read it back, and give it its row. The same name again: same bytes only."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for an artifact")
        size, sha256 = stowing.digest_of(path)
        with self._database.read() as unit:
            kept = unit.artifacts.find(unit.jobs.owned(job_id, fence).tenant, job_id, fence, name)
        if kept is not None:
            if kept.sha256 == sha256:
                return kept
            raise Conflict(f"this attempt already kept another file as {name}")
        key = f"jobs/{job_id}/{fence}/{name}"
        stowing.stow(self._store, key, path, sha256)
        with self._database.write() as unit:
            held = unit.jobs.own(job_id, fence)
            return unit.artifacts.add(held, name=name, kind=kind, step=step, key=key, bytes=size, sha256=sha256)

    def read(self, artifact: Artifact, path: Path) -> None:
        """Bring a stored file to `path`. Raises Damaged, and leaves nothing there, unless its bytes match their digest."""
        stowing.fetch(self._store, artifact.key, path, artifact.sha256)

    def read_file(self, file: File, path: Path) -> None:
        """The same of an uploaded file."""
        stowing.fetch(self._store, file.key, path, file.sha256)

    def read_prompts(self, file: File, path: Path) -> tuple[str, ...]:
        """The prompts of an uploaded file, which is brought to `path`. Raises Damaged and InvalidRequest."""
        self.read_file(file, path)
        return prompt_files.parse(path.read_bytes(), file)

    def thin(self, job_id: JobId, fence: Fence, *, keep_last: int, best_step: int | None) -> list[Artifact]:
        """Delete checkpoints that are neither among the last nor the best; returns them. Raises FenceLost."""
        return thinning.thin(self._database, self._store, job_id, fence, keep_last=keep_last, best_step=best_step)

    def succeed(
        self,
        job_id: JobId,
        fence: Fence,
        *,
        training_nfe: int,
        training_fe: float,
        code_version: str,
        reason: str = "completed",
    ) -> Job:
        """Finish: running → finalizing, the manifest, then one transaction that makes the adapter's version and ends the job.

        Raises InvalidTransition when a cancel or pause came first: end the attempt with `stopped` then.
        """
        spent = finishing.Spent(training_nfe, training_fe)
        job, kept = finishing.begin(self._database, job_id, fence, spent)
        adapter = finishing.newest_adapter(kept)
        manifest = finishing.write_manifest(self._store, job, kept, spent, code_version)
        return finishing.end(self._database, job, adapter, manifest, reason)

    def certify(self, job_id: JobId, fence: Fence, *, found_sha256: str, training_nfe: int, training_fe: float) -> Job:
        """End a certificate, whether it holds or not. Raises InvalidTransition as `succeed` does."""
        return certifying.certify(
            self._database, job_id, fence,
            found_sha256=found_sha256, training_nfe=training_nfe, training_fe=training_fe,
        )  # fmt: skip

    def fail(self, job_id: JobId, fence: Fence, error: JobError, *, cause: str, retry: bool) -> Job:
        """End a counted attempt: queued again after a wait where `retry` and attempts are left, else failed with the error.

        The count begins anew with an attempt that stored a newer checkpoint than there was.
        """
        with self._database.write() as unit:
            held = unit.jobs.own(job_id, fence)
            lose(unit, held, error, cause, self._limits, retry=retry)
            return _whole(unit.jobs.get(held.tenant, job_id))

    def put_off(self, job_id: JobId, fence: Fence, error: JobError) -> Job:
        """End an attempt for which the job is not to blame (`moves.PUT_OFF`): not counted, queued again after a wait that grows."""
        with self._database.write() as unit:
            held = unit.jobs.own(job_id, fence)
            put_off(unit, held, error, self._limits)
            return _whole(unit.jobs.get(held.tenant, job_id))

    def stopped(self, job_id: JobId, fence: Fence, cause: Literal["cancelled", "paused", "handed_back"]) -> Job:
        """End an attempt that was asked to stop; it is not counted. A cancel that came after the cause wins over it."""
        with self._database.write() as unit:
            held = unit.jobs.own(job_id, fence)
            asked = {"cancelled": State.CANCELLED, "paused": State.PAUSED, "handed_back": State.QUEUED}[cause]
            waiting = held.state in (State.CANCELLING, State.PAUSING)
            to = after_lost_attempt(held.state, attempts_left=True) if waiting else asked
            unit.jobs.end_attempt(held, "cancelled" if to is State.CANCELLED else cause)
            move(unit, held, to, data={"cause": cause})
            return _whole(unit.jobs.get(held.tenant, job_id))

    def reap(self) -> int:
        """End attempts whose lease is over; returns how many."""
        with self._database.write() as unit:
            return reap(unit, self._limits)

    def _take(self, worker: str, device: str | None, offers: Offers) -> Held | None:
        with self._database.write() as unit:
            reap(unit, self._limits)
            return unit.jobs.claim(worker, device, offers, self._limits.lease_seconds)

    def _brief(self, held: Held, claimed_at: float) -> Claim:
        with self._database.read() as unit:
            job = _whole(unit.jobs.whole(held.tenant, held.id))
            recipe = job.recipe
            checkpoints, goal = certifying.checkpoints(unit, job), certifying.goal(unit, job)
            file, images = (_file(unit, job, named) for named in (recipe.prompts_file, recipe.images_file))
            start = _start(unit, job)
        return Claim(job, claimed_at, tuple(reversed(checkpoints)), file, images, start, goal)


def _file(unit: ReadUnit, job: Job, named: str | None) -> File | None:
    if named is None:
        return None
    file = unit.files.get(job.tenant, FileId(named))
    if file is None:
        raise Damaged(f"{named} is gone")
    return file


def _start(unit: ReadUnit, job: Job) -> Artifact | None:
    named = parse_reference(job.recipe.start_adapter or "")
    if named is None:
        return None
    found = unit.adapters.find(job.tenant, *named)
    if found is None:
        raise Damaged(f"the adapter {job.recipe.start_adapter} is gone")
    return found.file


def _whole(job: Job | None) -> Job:
    assert job is not None, "a held job has a row"
    return job
