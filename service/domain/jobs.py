"""The life of a job: its states, which may follow which (data, drawn in docs from here), and the frozen records."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from service.domain.errors import Damaged, InvalidTransition
from service.domain.ids import Fence, JobId, TenantId
from service.domain.recipes import SHOWN_PROMPTS, Recipe


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Kind(StrEnum):
    """sharpening makes an adapter; certificate replays steps of its parent and compares the state's digest."""

    SHARPENING = "sharpening"
    CERTIFICATE = "certificate"


CERTIFICATES_SHOWN = 16
"""With the job that they are about."""

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.PAUSING, State.CANCELLING, State.FINALIZING, State.FAILED, State.QUEUED}),
    State.PAUSING: frozenset({State.PAUSED, State.CANCELLING}),
    State.PAUSED: frozenset({State.QUEUED, State.CANCELLED}),
    State.CANCELLING: frozenset({State.CANCELLED}),
    State.FINALIZING: frozenset({State.SUCCEEDED, State.CANCELLING, State.FAILED, State.QUEUED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset(),
}
"""state → the states that may follow it. failed → queued is a retry."""

OWNED: frozenset[State] = frozenset({State.RUNNING, State.PAUSING, State.CANCELLING, State.FINALIZING})
"""States in which an attempt holds the job, and in which its fenced writes are taken."""

TERMINAL: frozenset[State] = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


def check_transition(before: State, after: State) -> None:
    """Raise InvalidTransition unless the table has before → after."""
    if after not in TRANSITIONS[before]:
        raise InvalidTransition(f"a job that is {before} cannot become {after}")


def after_lost_attempt(state: State, *, attempts_left: bool) -> State:
    """Where a job goes whose lease ran out or whose child died, from each owned state."""
    if state is State.PAUSING:
        return State.PAUSED
    if state is State.CANCELLING:
        return State.CANCELLED
    return State.QUEUED if attempts_left else State.FAILED


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a stable code and a sentence that a person can act on."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a job by one worker. `cause` says how it ended: succeeded, lease_lost, child_crashed, handed_back, …"""

    fence: Fence
    worker: str
    device: str | None
    started_at: datetime
    ended_at: datetime | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. `reward` is the mean over the candidates of the last step; NFE and fe as in docs (Counting).

    `training_seconds`: of training over all attempts that led here; waiting, loading and steps that a lost attempt ran in
    vain are not among them.
    """

    step: int = 0
    steps: int = 0
    reward: float | None = None
    training_nfe: int = 0
    training_fe: float = 0
    seconds_left: float | None = None
    training_seconds: float = 0


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate found: its parent's stored checkpoint `from_step`, run on to `to_step`, has this state there."""

    job: JobId
    from_step: int
    to_step: int
    expected_sha256: str
    found_sha256: str

    @property
    def holds(self) -> bool:
        return self.found_sha256 == self.expected_sha256


@dataclass(frozen=True, slots=True)
class UnreadableRecipe:
    """What is stored of a recipe that this version of Strop cannot read. Its job can be shown, ended and cancelled all the same."""

    stored: dict[str, Any]
    reason: str

    @property
    def metadata(self) -> dict[str, str]:
        said = self.stored.get("metadata")
        return {key: value for key, value in said.items() if isinstance(value, str)} if isinstance(said, dict) else {}

    @property
    def steps(self) -> int:
        said = self.stored.get("steps")
        return said if isinstance(said, int) else 0

    def public(self) -> dict[str, Any]:
        """As it is stored, without what callers never see or what may be long, and with the reason under `unreadable`."""
        hidden = {"base", "reward_model", "parent_id", "replay", "prompts"}
        shown = {key: value for key, value in self.stored.items() if key not in hidden} | {"unreadable": self.reason}
        validation = shown.get("validation")
        if isinstance(validation, dict) and isinstance(prompts := validation.get("prompts"), list):
            shown["validation"] = {**validation, "prompts": prompts[:SHOWN_PROMPTS]}
            shown.setdefault("validation_prompt_count", len(prompts))
        return shown


@dataclass(frozen=True, slots=True)
class Job:
    id: JobId
    tenant: TenantId
    state: State
    posted: Recipe | UnreadableRecipe
    created_at: datetime
    updated_at: datetime
    fence: Fence
    progress: Progress
    adapter: str | None = None
    error: JobError | None = None
    attempts: tuple[Attempt, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    event_count: int = 0
    version: int = 0
    """Goes up with every visible change: what an ETag is made of."""
    kind: Kind = Kind.SHARPENING
    parent: JobId | None = None
    """The job that this one was cloned from, or that it certifies."""
    stop_reason: str | None = None
    """Why a job that succeeded ended when it did: completed, or max_seconds, max_nfe, … where it stopped early."""
    certificate: Certificate | None = None
    """Of a certificate that succeeded."""
    certificates: tuple[Certificate, ...] = ()
    """What this job's own certificates found, the newest first, at most CERTIFICATES_SHOWN."""
    wait_reason: str | None = None
    """Why nobody takes a queued job; None: it only waits for its turn, or its due time is not long ago."""
    failures: int = 0
    """Counted attempts that ended badly since the submit or the last retry; hand-backs and pauses are not among them."""

    @property
    def recipe(self) -> Recipe:
        """Raises Damaged where what is stored cannot be read."""
        if isinstance(self.posted, UnreadableRecipe):
            raise Damaged(self.posted.reason)
        return self.posted


PER_STEP = frozenset({"job.step", "job.validation", "job.samples", "job.checkpoint", "job.log"})
"""Types of events of which a job has many: the ones that are not kept for ever."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job; numbered from 1 without gaps, never changed. Long after the job's end what it said
    of each step (PER_STEP) is removed; what stays keeps its number.

    Types: job.queued, job.started, job.ready, job.resumed, job.step, job.samples, job.validation, job.checkpoint,
    job.checkpoint_damaged, job.log, job.requeued, job.pausing, job.paused, job.finalizing, job.cancelling, job.cancelled, job.failed, job.succeeded,
    job.certified, job.adapter_deleted. Where a step was run twice, the highest fence counts.
    """

    number: int
    fence: Fence
    step: int | None
    type: str
    data: dict[str, Any]
    created_at: datetime
