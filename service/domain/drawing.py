"""The life of a job as a page: drawn from the transition table, so that docs/jobs-states.md cannot say anything else."""

from service.domain.jobs import OWNED, TERMINAL, TRANSITIONS, State, after_lost_attempt

BY: dict[tuple[State, State], str] = {
    (State.QUEUED, State.RUNNING): "claim",
    (State.QUEUED, State.CANCELLED): "cancel",
    (State.RUNNING, State.PAUSING): "pause",
    (State.RUNNING, State.CANCELLING): "cancel",
    (State.RUNNING, State.FINALIZING): "trained",
    (State.RUNNING, State.FAILED): "failed for good",
    (State.RUNNING, State.QUEUED): "lost, failed or handed back",
    (State.PAUSING, State.PAUSED): "stopped",
    (State.PAUSING, State.CANCELLING): "cancel",
    (State.PAUSED, State.QUEUED): "resume",
    (State.PAUSED, State.CANCELLED): "cancel",
    (State.CANCELLING, State.CANCELLED): "stopped",
    (State.FINALIZING, State.SUCCEEDED): "manifest stored",
    (State.FINALIZING, State.CANCELLING): "cancel",
    (State.FINALIZING, State.FAILED): "failed for good",
    (State.FINALIZING, State.QUEUED): "lost, failed or handed back",
    (State.FAILED, State.QUEUED): "retry",
}
"""What takes a job from one state to the next: a word for every arrow of the table."""

_HEAD = """# The states of a job

Written by `make states` from the table in [`service/domain/jobs.py`](../service/domain/jobs.py). A change of state that is not
drawn here is refused. In a grey state an attempt owns the job: its fenced writes are taken, and its lease is watched.
"""

_FOOT = """
*Lost*: the lease ran out or the child crashed. The attempt is counted; at the attempt limit the job fails. A hand-back, a pause,
a resume and a store that is away are not counted; a retry counts from 0 again, an attempt that stored a newer checkpoint from 1.
"""


def page() -> str:
    """docs/jobs-states.md, whole. Raises KeyError where the table has an arrow without a word."""
    return "\n".join((_HEAD, *_diagram(), "", *_table())) + "\n" + _FOOT


def _diagram() -> list[str]:
    arrows = [f"    {state} --> {to}: {BY[state, to]}" for state in State for to in State if to in TRANSITIONS[state]]
    ends = [f"    {state} --> [*]" for state in State if state in TERMINAL]
    owned = ",".join(state for state in State if state in OWNED)
    style = ["    classDef owned fill:#ddd,stroke:#666,color:#000", f"    class {owned} owned"]
    return ["```mermaid", "stateDiagram-v2", "    [*] --> queued: submit", *arrows, *ends, *style, "```"]


def _table() -> list[str]:
    """Where an attempt that is lost leaves its job, with attempts left and without."""
    lines = ["| state | an attempt lost, others left | … and none left |", "|---|---|---|"]
    for state in State:
        if state in OWNED:
            left, none_left = (after_lost_attempt(state, attempts_left=left) for left in (True, False))
            lines.append(f"| {state} | {left} | {none_left} |")
    return lines
