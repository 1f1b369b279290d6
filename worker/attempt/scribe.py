"""Writes down what a child says: events into the database, files into the store, in the order of its telling."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, assert_never

from service.domain.artifacts import Artifact, Kind
from service.domain.errors import Damaged, JobFailure, Unavailable
from service.domain.jobs import Job, Progress
from service.operations.attempts import Attempts
from worker import pipe
from worker.attempt.attend import Line, Said
from worker.attempt.output import LogLines
from worker.attempt.patience import LAST_STORE_SECONDS, STORE_SECONDS, patiently
from worker.attempt.watch import Watch

_SPARED = frozenset({Kind.CHECKPOINT, Kind.SAMPLE})
"""Files that a job can do without: it goes on when the store will not take one."""


class NotStored(JobFailure):
    """What a training ends with, and the store did not take it for as long as it was tried."""

    code = "not_stored"

    def __init__(self, what: str, away: Unavailable) -> None:
        super().__init__(
            f"the training came to its end, but {what} could not be stored in {LAST_STORE_SECONDS:.0f} s ({away.message}): see "
            "whether this worker may write to the store, and whether there is room, then retry the job"
        )


class Scribe:
    """Every write carries the attempt's fence; `take` raises FenceLost when it no longer owns the job, NotStored of its adapter."""

    def __init__(self, attempts: Attempts, watch: Watch, job: Job, scratch: Path, keep_last: int) -> None:
        self._attempts, self._watch, self._job, self._scratch = attempts, watch, job, scratch
        self._step, self._keep_last = job.progress.step, keep_last
        self._unstored: set[str] = set()
        self._lines = LogLines(lambda data: self._record(self._step, "job.log", data))
        self.word: pipe.Finished | pipe.Failed | None = None
        """The child's last word, once it has said it."""

    @property
    def last_line(self) -> str:
        return self._lines.last

    def take(self, said: Said) -> None:
        if self._watch.lost or self._is_late(said):
            return
        if not isinstance(said, Line):
            self._lines.flush()
        match said:
            case Line(text):
                self._lines.add(text)
            case pipe.Report("job.checkpoint"):
                self._note_checkpoint(said)
            case pipe.Report():
                self._step = said.step
                self._record(said.step, said.type, said.data)
            case pipe.FileMade():
                self._keep(said)
            case pipe.Ready():
                job, step, device = self._job, self._step, said.device
                patiently(self._watch, lambda: self._attempts.ready(job.id, job.fence, step, device))
                if said.resumed_step is not None:
                    self._step = said.resumed_step
                    self._record(self._step, "job.resumed", {"step": self._step})
            case pipe.Saving() | pipe.Still():
                pass
            case pipe.Finished() | pipe.Failed():
                self.word = said
            case pipe.Begin() | pipe.Tick() | pipe.Stop():
                raise pipe.Garbled(f"the child spoke its parent's word {type(said).__name__}")
            case _:
                assert_never(said)

    def warn(self, step: int, sentence: str) -> None:
        """Tell the job's reader of something that went wrong and did not end it."""
        self._record(step, "job.log", {"level": "warning", "lines": [sentence]})

    def damaged(self, artifact: Artifact, reason: str) -> None:
        """Tell of a checkpoint that cannot be gone on from; the one before it is tried."""
        data = {"step": artifact.step, "fence": artifact.fence, "reason": reason}
        self._record(artifact.step, "job.checkpoint_damaged", data)

    def close(self) -> None:
        self._lines.close()

    def _is_late(self, said: Said) -> bool:
        """Of no use any more: whatever a cancelled child tells, and the events of one that had to be killed for its deafness."""
        if self._watch.asked == "cancel":
            return isinstance(said, pipe.Report | pipe.FileMade)
        return self._watch.ended == "grace_over" and isinstance(said, pipe.Report)

    def _record(self, step: int, kind: str, data: dict[str, Any]) -> None:
        progress = self._progress(step, data) if kind == "job.step" else None
        job, fence = self._job.id, self._job.fence
        patiently(self._watch, lambda: self._attempts.record(job, fence, step, kind, data, progress=progress))

    def _note_checkpoint(self, said: pipe.Report) -> None:
        """The file is there, if it could be stored; the oldest may go then, or with the next. Told beside training, it may come a step
        late."""
        if said.data.get("name") in self._unstored:
            return
        self._record(said.step, said.type, said.data)
        job, best, keep = self._job, said.data.get("best_step"), self._keep_last
        with suppress(Unavailable):
            thin = partial(self._attempts.thin, job.id, job.fence, keep_last=keep, best_step=best)
            patiently(self._watch, thin, STORE_SECONDS)

    def _progress(self, step: int, data: Mapping[str, Any]) -> Progress:
        return Progress(
            step=step,
            steps=self._job.recipe.steps,
            reward=data["reward"]["mean"],
            training_nfe=data["training_nfe"],
            training_fe=data["training_fe"],
            seconds_left=data["seconds_left"],
            training_seconds=data.get("training_seconds", 0.0),  # a replay has no clock to show
        )

    def _keep(self, made: pipe.FileMade) -> None:
        """Upload a finished file; the row that the operation writes makes it exist. The local one may go then."""
        job, kind, path = self._job, Kind(made.kind), self._scratch / Path(made.name).name
        seconds = STORE_SECONDS if kind in _SPARED else LAST_STORE_SECONDS
        try:
            kept = patiently(
                self._watch,
                lambda: self._attempts.keep(job.id, job.fence, made.step, kind, path.name, path),
                seconds,
            )
            if kept.sha256 != made.sha256:
                raise Damaged(f"{path.name} changed between the child's writing and our upload")
        except (Unavailable, Damaged) as error:
            if kind not in _SPARED:
                if isinstance(error, Damaged):
                    raise
                raise NotStored(path.name, error) from error
            self._unstored.add(path.name)
            self.warn(made.step, f"{path.name} could not be stored: {error.message}")
        with suppress(FileNotFoundError):
            path.unlink()
