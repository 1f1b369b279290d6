"""How an attempt ends, from how its child ended and what the caller wants: pure, one table, read from top to bottom.

| the job is no longer ours                    | Dropped: nothing is written                        |
| the caller cancelled, or paused              | Stopped: cancelled, paused, whatever the child did |
| the child came to its natural end            | Succeeded, with the reason; a replay: Certified    |
| the child was silent too long                | Failed: stuck                                      |
| the child found no device, or a full disk    | PutOff: the worker is at fault                     |
| the child said why it cannot go on           | Failed: as it said                                 |
| the worker ends, or the child obeyed a Stop  | Stopped: handed_back, not counted                  |
| the child died                               | Failed: child_crashed, code by the signal          |
"""

import signal
from dataclasses import dataclass
from typing import Literal

from service.domain.jobs import JobError, State
from worker.attempt.watch import LOST, Ended, Reason
from worker.pipe import Failed as SaidFailed
from worker.pipe import Finished


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """`word`: its last, if it had one; `exit_code`: minus the signal, if one ended it; `last_line`: of its output."""

    word: Finished | SaidFailed | None
    exit_code: int
    last_line: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Somebody else owns the job, or will: the reaper takes it from here."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    training_nfe: int
    training_fe: float
    reason: str = "completed"


@dataclass(frozen=True, slots=True)
class Certified:
    """A replay came to its end; whether it met the digest, the operation says."""

    found_sha256: str
    training_nfe: int
    training_fe: float


@dataclass(frozen=True, slots=True)
class Failed:
    error: JobError
    cause: str
    retry: bool


@dataclass(frozen=True, slots=True)
class PutOff:
    """No fault of the job's, and not counted: it is tried again after a wait that grows."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Stopped:
    cause: Literal["cancelled", "paused", "handed_back"]


Verdict = Dropped | Succeeded | Certified | Failed | PutOff | Stopped


def judge(state: State, end: ChildEnd | None, ended: Ended | None, asked: Reason | None) -> Verdict:
    """The table above. `end` is None if no child was started; `ended` and `asked` are the watch's."""
    if ended in LOST:
        return Dropped()
    if state is State.CANCELLING:
        return Stopped("cancelled")
    if state is State.PAUSING:
        return Stopped("paused")
    return _left_to_itself(end, ended, asked)


def _left_to_itself(end: ChildEnd | None, ended: Ended | None, asked: Reason | None) -> Verdict:
    match end.word if end else None:
        case Finished(stopped=None, found_sha256=str(found), training_nfe=nfe, training_fe=fe):
            return Certified(found, nfe, fe)
        case Finished(stopped=None, training_nfe=nfe, training_fe=fe, reason=reason):
            return Succeeded(nfe, fe, reason)
        case _ if ended == "stuck":
            return Failed(JobError("stuck", _STUCK), "stuck", retry=True)
        case SaidFailed(code, message, retry):
            cause = _OF_THE_WORKER.get(code)
            return PutOff(JobError(cause, message)) if cause else Failed(JobError(code, message), code, retry)
    if end is None or end.word is not None or asked is not None:
        return Stopped("handed_back")
    return Failed(_crash(end), "child_crashed", retry=True)


_OF_THE_WORKER = {"device_unavailable": "device_unavailable", "disk_full": "no_scratch"}
"""What a child says that is its worker's trouble, as the cause of a put-off."""
_STUCK = (
    "the training process gave no sign of life for longer than the step timeout, in which no call of the model came to its end, and "
    "was ended: see whether its device or disk hangs, make calls smaller (micro_batch), or raise STROP_STEP_TIMEOUT"
)
_KILLED = (
    "was killed by the system, most likely because the machine ran out of memory: "
    "lower prompts_per_step, candidates or the LoRA rank, or use a worker with more memory."
)


def _crash(end: ChildEnd) -> JobError:
    said = f" Its last words: {end.last_line}" if end.last_line else ""
    code, what = "child_crashed", f"ended with exit code {end.exit_code} without a last word; see the job's log lines."
    if end.exit_code == -signal.SIGKILL:
        code, what = "child_killed", _KILLED
    elif end.exit_code == -signal.SIGALRM:
        code, what = "child_lease_over", "ended itself because it did not hear of its lease in time."
    elif end.exit_code < 0:
        what = f"was ended by {signal.Signals(-end.exit_code).name}; see the job's log lines."
    return JobError(code, f"the training process {what}{said}")
