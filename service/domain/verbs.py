"""What an owner may ask of a job that exists: which state each verb leads to, where asking again changes nothing, and what
to do instead where it is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.domain.errors import InvalidTransition
from service.domain.jobs import State


@dataclass(frozen=True, slots=True)
class Verb:
    """`moves`: state → the next. `asked`: states in which it was asked for already. `remedies`: for the other states."""

    name: str
    participle: str
    moves: Mapping[State, State]
    remedies: Mapping[State, str]
    asked: frozenset[State] = field(default_factory=frozenset)
    code: str = InvalidTransition.code

    def leads(self, state: State) -> State | None:
        """The next state; None where it was asked for already. Raises InvalidTransition with the remedy."""
        if state in self.asked:
            return None
        if state not in self.moves:
            sentence = f"a job that is {state} cannot be {self.participle}: {self.remedies[state]}"
            raise InvalidTransition(sentence, code=self.code)
        return self.moves[state]


_ENDED = "it has ended; clone it to run it again"
_STOPPING = "it is about to be cancelled; clone it to run it again"
_GOES_ON = "it goes on already"

CANCEL = Verb(
    name="cancel",
    participle="cancelled",
    moves={
        State.QUEUED: State.CANCELLED,
        State.PAUSED: State.CANCELLED,
        State.RUNNING: State.CANCELLING,
        State.PAUSING: State.CANCELLING,
        State.FINALIZING: State.CANCELLING,
    },
    asked=frozenset({State.CANCELLING, State.CANCELLED}),
    remedies={State.SUCCEEDED: "it has ended", State.FAILED: "it has ended"},
)
PAUSE = Verb(
    name="pause",
    participle="paused",
    moves={State.RUNNING: State.PAUSING},
    asked=frozenset({State.PAUSING, State.PAUSED}),
    remedies={
        State.QUEUED: "cancel it, or pause it once it runs",
        State.FINALIZING: "its adapter is being stored; wait for its end, or cancel it",
        State.CANCELLING: _STOPPING,
        State.SUCCEEDED: _ENDED,
        State.FAILED: "it has ended; retry it to go on from its last checkpoint",
        State.CANCELLED: _ENDED,
    },
    code="cannot_pause",
)
RESUME = Verb(
    name="resume",
    participle="resumed",
    moves={State.PAUSED: State.QUEUED},
    remedies={
        State.QUEUED: _GOES_ON,
        State.RUNNING: _GOES_ON,
        State.PAUSING: "wait until it is paused, which its next step brings",
        State.FINALIZING: _GOES_ON,
        State.CANCELLING: _STOPPING,
        State.SUCCEEDED: _ENDED,
        State.FAILED: "retry it to go on from its last checkpoint",
        State.CANCELLED: _ENDED,
    },
    code="cannot_resume",
)
RETRY = Verb(
    name="retry",
    participle="retried",
    moves={State.FAILED: State.QUEUED},
    remedies={
        State.QUEUED: _GOES_ON,
        State.RUNNING: _GOES_ON,
        State.PAUSING: "it has not failed; wait until it is paused, then resume it",
        State.PAUSED: "it has not failed; resume it",
        State.FINALIZING: _GOES_ON,
        State.CANCELLING: _STOPPING,
        State.SUCCEEDED: _ENDED,
        State.CANCELLED: _ENDED,
    },
    code="cannot_retry",
)
VERBS = {verb.name: verb for verb in (CANCEL, PAUSE, RESUME, RETRY)}
