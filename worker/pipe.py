"""The words between a worker's parent and its child, one JSON object a line, over two pipes.

Down (parent → child): Begin once, then Tick (seconds that the lease still has), Stop (cancel, pause or hand back).
Up (child → parent): Ready, Report (an event), FileMade (a whole file in the scratch folder), Saving (a Stop is obeyed),
Still (working, with nothing to tell), Finished or Failed, last.
End of file on either side means that the other is gone: the child then ends itself, the parent reaps it.
Torch-free: both sides import it.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Literal


class Garbled(ValueError):
    """A whole line that is none of our words: the two sides are of different versions, or somebody else wrote."""


@dataclass(frozen=True, slots=True)
class Begin:
    """All that the child needs. Paths are local folders or files that the parent staged.

    `goal_path`: of a certificate, the checkpoint that the replay must meet. `images_path`: the index of the job's own
    pictures. `start_path`: the adapter to begin with.
    """

    recipe: dict[str, Any]
    prompts_path: str
    base_path: str
    reward_model_path: str | None
    checkpoint_path: str | None
    scratch: str
    device: str
    threads: int
    lease_seconds: float
    goal_path: str | None = None
    images_path: str | None = None
    start_path: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """The lease was renewed and now has this many seconds left; the child ends a margin before they run out."""

    seconds_left: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop at the next step boundary; `checkpoint` asks for a last checkpoint first (pause, hand back)."""

    reason: Literal["cancel", "pause", "hand_back"]
    checkpoint: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The models are loaded."""

    device: str
    resumed_step: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """An event for the job: its type, the step that it belongs to, its data."""

    type: str
    step: int
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileMade:
    """A file that is whole (written aside, synced, renamed), by its name in the scratch folder."""

    name: str
    kind: str
    step: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Saving:
    """A Stop is obeyed at this step, and the checkpoint that it asked for is being written: that may take a while."""

    step: int


@dataclass(frozen=True, slots=True)
class Still:
    """A sign of life between two events: no event itself, it only ends a silence."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The child is done. `stopped` is None at the natural end, else the reason of the Stop that it obeyed.

    `reason`: of a natural end, as the loop says it. `found_sha256`: of a replay, instead of any file.
    """

    step: int
    stopped: str | None
    training_nfe: int
    training_fe: float
    reason: str = "completed"
    found_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The child cannot go on: a stable code and a sentence that a person can act on. `retry` = another try may help."""

    code: str
    message: str
    retry: bool


Message = Begin | Tick | Stop | Ready | Report | FileMade | Saving | Still | Finished | Failed
_WORDS: dict[str, type[Message]] = {
    word.__name__: word for word in (Begin, Tick, Stop, Ready, Report, FileMade, Saving, Still, Finished, Failed)
}


def send(stream: IO[bytes], message: Message) -> None:
    """Write one message and flush it. Raises BrokenPipeError when the other side is gone, ValueError for NaN."""
    line = json.dumps({"word": type(message).__name__, **asdict(message)}, separators=(",", ":"), allow_nan=False)
    stream.write(line.encode() + b"\n")
    stream.flush()


def receive(stream: IO[bytes]) -> Iterator[Message]:
    """Yield messages until the other side closes; a torn last line (it was killed) is the end too. Raises Garbled."""
    for line in stream:
        if not line.endswith(b"\n"):
            return
        try:
            fields = json.loads(line)
            yield _WORDS[fields.pop("word")](**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Garbled(f"not one of the pipe's words: {line[:120]!r}") from error
