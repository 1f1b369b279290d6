"""A job's life as a small model, and what a database must hold beside it: the rows before and after each step."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.adapters.db.tables import metadata
from service.domain.ids import JobId
from service.domain.jobs import OWNED, TERMINAL, State, after_lost_attempt, check_transition
from service.domain.principals import Principal
from tests.service.world import World

ATTEMPT_LIMIT = 3
STATE_SAID = {f"job.{state}": state for state in State} | {
    "job.started": State.RUNNING,
    "job.requeued": State.QUEUED,
}
"""What an event says of the state; other events say nothing of it."""

ASKED: dict[str, dict[State, State]] = {
    "cancel": dict.fromkeys((State.QUEUED, State.PAUSED, State.CANCELLED), State.CANCELLED)
    | dict.fromkeys((State.RUNNING, State.PAUSING, State.FINALIZING, State.CANCELLING), State.CANCELLING),
    "pause": {State.RUNNING: State.PAUSING, State.PAUSING: State.PAUSING, State.PAUSED: State.PAUSED},
    "resume": {State.PAUSED: State.QUEUED},
    "retry": {State.FAILED: State.QUEUED},
}
"""Where an owner's word takes a job, from the states in which it is taken."""

STOPPED = {State.CANCELLING: State.CANCELLED, State.PAUSING: State.PAUSED}
"""Where a job goes that was asked to stop, once its attempt has."""


@dataclass
class Life:
    """What one job should be like now."""

    id: JobId
    owner: Principal
    priority: int
    state: State = State.QUEUED
    fence: int = 0
    failures: int = 0
    lease_over: bool = False
    adapter_kept: bool = False
    furthest: int = 0
    """The newest checkpoint's step, and that from before the attempt that owns the job."""
    began_at: int = 0
    causes: list[str | None] = field(default_factory=list)
    """How each attempt ended, in the order of fences; None: it has not."""

    def owned_by(self, fence: int) -> bool:
        return self.fence == fence and self.state in OWNED

    def begin(self) -> None:
        self.state, self.fence, self.lease_over = State.RUNNING, self.fence + 1, False
        self.began_at = self.furthest
        self.causes.append(None)

    def lose(self, cause: str, *, retry: bool = True) -> None:
        """A counted attempt ends without an end of its job."""
        self.failures = 1 if self.furthest > self.began_at else self.failures + 1
        left = retry and self.failures < ATTEMPT_LIMIT
        self.state, self.causes[-1] = after_lost_attempt(self.state, attempts_left=left), cause

    def asked(self, verb: str) -> bool:
        """What its owner asks for is done, if it may be."""
        to = ASKED[verb].get(self.state)
        if to is None:
            return False
        self.failures = 0 if verb == "retry" else self.failures
        self.state = to
        return True

    def ended(self, how: str) -> bool:
        """Its attempt ends so, if it may."""
        if how.startswith("failed"):
            self.lose("crash", retry=how == "failed")
            return True
        asked = self.state in STOPPED
        if how == "unavailable":
            self.state, self.causes[-1] = STOPPED.get(self.state, State.QUEUED), how
            return True
        if how in ("trained", "interrupted"):
            if not asked:
                self.state, self.causes[-1] = State.SUCCEEDED, "succeeded"
            return not asked
        if not asked and how != "handed_back":
            return False
        self.state = STOPPED.get(self.state, State.QUEUED)
        self.causes[-1] = "cancelled" if self.state is State.CANCELLED else how
        return True


def next_in_turn(lives: Iterable[Life]) -> set[JobId]:
    """Whom a claim may take: of the highest priority, the tenant with the fewest running. Who among equals is a matter of
    time stamps, and has tests of its own."""
    everybody = list(lives)
    running = [life.owner.tenant for life in everybody if life.state in OWNED]
    queued = [life for life in everybody if life.state is State.QUEUED]
    turn = {life.id: (-life.priority, running.count(life.owner.tenant)) for life in queued}
    return {job for job, place in turn.items() if place == min(turn.values())}


Rows = dict[str, dict[tuple[Any, ...], Mapping[str, Any]]]


def all_rows(world: World) -> Rows:
    """Every row of every table, by its primary key, as of one moment; values as the driver gives them."""
    with world.database.engine.connect() as connection:
        return {
            name: {
                tuple(row[column.name] for column in table.primary_key): dict(row)
                for row in connection.exec_driver_sql(f"SELECT * FROM {name}").mappings()
            }
            for name, table in metadata.tables.items()
        }


def empty(world: World) -> None:
    for table in reversed(metadata.sorted_tables):
        world.sql(f"DELETE FROM {table.name}")


def check_step(before: Rows, after: Rows) -> None:
    """What holds of any step, whatever was asked: raises AssertionError."""
    _history_only_grows(before, after)
    for (job,), row in after["jobs"].items():
        new = [event for event in _events(after, job) if (job, event["number"]) not in before["events"]]
        old = before["jobs"].get((job,))
        _states_follow_the_table(State(old["state"]) if old else None, new, State(row["state"]))
        _fence_counts_claims(old["fence"] if old else 0, new, row["fence"])
        if old and State(old["state"]) in TERMINAL - {State.FAILED}:
            assert row == old, "an end is an end"
    check_rows(after)


def check_rows(rows: Rows) -> None:
    """What holds at any moment."""
    for (job,), row in rows["jobs"].items():
        numbers = [event["number"] for event in _events(rows, job)]
        assert numbers == list(range(1, row["event_count"] + 1)), "numbered without a gap"
        versions = [version for version in rows["adapter_versions"].values() if version["job_id"] == job]
        assert len(versions) == (row["state"] == State.SUCCEEDED), "one version for each success, and none else"
        tried = sorted(fence for of, fence in rows["attempts"] if of == job)
        assert tried == list(range(1, row["fence"] + 1)), "an attempt for each fence"
        open_ones = [fence for fence in tried if rows["attempts"][job, fence]["ended_at"] is None]
        assert open_ones == ([row["fence"]] if row["state"] in OWNED else []), "only the owner's attempt is open"
        fences = [event["fence"] for event in _events(rows, job)]
        assert fences == sorted(fences), "no event of an attempt after the next one began"


def _events(rows: Rows, job: str) -> list[Mapping[str, Any]]:
    return [rows["events"][key] for key in sorted(rows["events"]) if key[0] == job]


def _history_only_grows(before: Rows, after: Rows) -> None:
    for table in ("events", "artifacts", "adapter_versions", "idempotency"):
        for key, row in before[table].items():
            assert after[table].get(key) == row, f"a row of {table} changed"


def _states_follow_the_table(state: State | None, new: Iterable[Mapping[str, Any]], end: State) -> None:
    for event in new:
        said = STATE_SAID.get(event["type"])
        if said is None:
            continue
        if state is None:
            assert said is State.QUEUED, "a job begins queued"
        else:
            check_transition(state, said)
        state = said
    assert state is end, "the events tell the state"


def _fence_counts_claims(fence: int, new: Iterable[Mapping[str, Any]], end: int) -> None:
    for event in new:
        if event["type"] == "job.started":
            fence += 1
            assert event["fence"] == fence, "+ 1 at each claim"
    assert fence == end, "and never otherwise"
