"""Any order of verbs, from owners, rightful attempts and stale ones: the database does what a small model says, on PostgreSQL
and on SQLite. STROP_TESTS=long tries many more orders, other ones each time."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.exc import IntegrityError

from service.adapters.db.tables import jobs
from service.domain.artifacts import Kind
from service.domain.errors import Conflict, FenceLost, InvalidTransition, StropError
from service.domain.ids import Fence, JobId, TenantId
from service.domain.jobs import OWNED, TERMINAL, JobError, Progress, State
from service.domain.principals import Principal
from tests.service.operations.life import ATTEMPT_LIMIT, Life, all_rows, check_step, empty, next_in_turn
from tests.service.world import EVERYTHING, World

PATIENT: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
SHORT = settings(max_examples=40, stateful_step_count=30, derandomize=True, **PATIENT)
LONG = settings(max_examples=500, stateful_step_count=100, print_blob=True, **PATIENT)
CHOSEN = LONG if os.environ.get("STROP_TESTS") == "long" else SHORT

TENANTS = tuple(Principal(TenantId(name)) for name in ("anne", "bert"))
MOST_LIVE_JOBS = 3
WHICH = st.integers(0, MOST_LIVE_JOBS)
"""A job: live ones come first."""
WHOSE = st.one_of(st.integers(0, 2), st.integers(0, 2), st.integers(-9, -1))
"""An attempt: the rightful one of that number, or below 0 one of any time, counted from the last."""

ASKS = ("cancel", "pause", "pause", "resume", "resume", "retry", "retry")
WRITES = ("heartbeat", "look", "report", "ready", "checkpoint", "adapter")
ENDS = (
    "trained",
    "trained",
    "interrupted",
    "failed",
    "failed for good",
    "cancelled",
    "paused",
    "handed_back",
    "unavailable",
)


class LifeOfJobs(RuleBasedStateMachine):
    """`lives` is the model; `given` are all attempts that ever were, and one that never was. The model knows whose turn it is.

    Few rules that each draw a verb: hypothesis leaves whole rules out of half of its runs, and too few lives would end.
    """

    def __init__(self, world: World, seen: Counter[str]) -> None:
        super().__init__()
        self.world, self.worker, self.seen = world, world.worker(attempt_limit=ATTEMPT_LIMIT), seen
        self.lives: dict[JobId, Life] = {}
        self.given: list[tuple[JobId, Fence]] = [(JobId("job_" + "0" * 26), Fence(1))]
        self.files, self.untouched = 0, False

    @initialize()
    def begin(self) -> None:
        empty(self.world)
        self.rows = all_rows(self.world)
        self.submit(TENANTS[0], 0)

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        if self.untouched:
            self.untouched = False
            return
        before, self.rows = self.rows, all_rows(self.world)
        check_step(before, self.rows)
        assert {job for (job,) in self.rows["jobs"]} == set(self.lives)
        for life in self.lives.values():
            row = self.rows["jobs"][life.id,]
            assert (row["state"], row["fence"], row["failures"]) == (life.state, life.fence, life.failures)
            causes = [self.rows["attempts"][life.id, fence]["cause"] for fence in range(1, life.fence + 1)]
            assert causes == life.causes
            self.seen[life.state] += 1

    @contextmanager
    def nothing_changes(self, error: type[Exception]) -> Iterator[None]:
        with pytest.raises(error):
            yield
        assert all_rows(self.world) == self.rows, "what is refused changes nothing"
        self.untouched = True

    # The owner

    @precondition(lambda self: sum(life.state not in TERMINAL for life in self.lives.values()) < MOST_LIVE_JOBS)
    @rule(owner=st.sampled_from(TENANTS), priority=st.sampled_from([0, 0, 0, 5, -5]))
    def submit(self, owner: Principal, priority: int) -> None:
        job = self.world.post(owner, priority=priority)
        self.lives[job.id] = Life(job.id, owner, priority)

    @rule(which=WHICH, verb=st.sampled_from(ASKS))
    def its_owner_asks(self, which: int, verb: str) -> None:
        life = self._job(which)
        ask = getattr(self.world.jobs, verb)
        if life.asked(verb):
            ask(life.owner, life.id)
        else:
            with self.nothing_changes(Conflict):
                ask(life.owner, life.id)

    def _job(self, which: int) -> Life:
        in_order = sorted(self.lives.values(), key=lambda life: life.state in TERMINAL)
        return in_order[which % len(in_order)]

    # Time, workers and the steward

    @rule(which=WHICH, reaped=st.booleans())
    def its_lease_ends(self, which: int, reaped: bool) -> None:
        life = self._job(which)
        if life.state in OWNED:
            life.lease_over = True
            self.world.sql("UPDATE jobs SET lease_until = '2020-01-01 00:00:00.000' WHERE id = :id", id=life.id)
        if reaped:
            assert self.worker.reap() == self._reaped()

    @rule()
    def a_worker_claims(self) -> None:
        self._reaped()
        turn = next_in_turn(self.lives.values())
        claim = self.worker.claim("w", "cpu", EVERYTHING)
        assert (claim is None) == (not turn), "whoever is queued is claimed"
        if claim is not None:
            assert claim.job.id in turn
            self.lives[claim.job.id].begin()
            self.given.append((claim.job.id, claim.job.fence))

    def _reaped(self) -> int:
        over = [life for life in self.lives.values() if life.state in OWNED and life.lease_over]
        for life in over:
            life.lose("lease_lost")
        return len(over)

    # An attempt: the rightful one, or one that is not any more

    @rule(whose=WHOSE, verb=st.sampled_from(WRITES))
    def an_attempt_writes(self, whose: int, verb: str) -> None:
        job, fence, life = self._attempt(whose)
        self.files += 1
        file = self.world.file(b"%d" % self.files)
        kind = Kind.ADAPTER if verb == "adapter" else Kind.CHECKPOINT
        write: Callable[[], Any] = {
            "heartbeat": lambda: self.worker.heartbeat(job, fence),
            "look": lambda: self.worker.control(job, fence),
            "report": lambda: self.worker.record(job, fence, 1, "job.step", {}, progress=Progress(1, 60)),
            "ready": lambda: self.worker.ready(job, fence, 0, "cpu"),
        }.get(verb, lambda: self.worker.keep(job, fence, self.files, kind, f"{kind}-{self.files}", file))
        if life is None:
            with self.nothing_changes(FenceLost):
                write()
            return
        answer = write()
        assert verb not in ("heartbeat", "look") or answer is life.state
        life.adapter_kept |= verb == "adapter"
        life.furthest = self.files if verb == "checkpoint" else life.furthest
        life.lease_over &= verb != "heartbeat"

    @rule(whose=WHOSE, how=st.sampled_from(ENDS))
    def an_attempt_ends(self, whose: int, how: str) -> None:
        if how == "trained":
            self.an_attempt_writes(whose, "adapter")
            self.the_database_says_what_the_model_says()
        job, fence, life = self._attempt(whose)
        end: Callable[[], Any] = {
            "trained": lambda: self._succeed(job, fence),
            "interrupted": lambda: self._succeed(job, fence),
            "failed": lambda: self._fail(job, fence, retry=True),
            "failed for good": lambda: self._fail(job, fence, retry=False),
            "unavailable": lambda: self.worker.put_off(job, fence, JobError("unavailable", "y")),
        }.get(how, lambda: self.worker.stopped(job, fence, how))  # type: ignore[arg-type]
        if life is None:
            with self.nothing_changes(FenceLost):
                end()
        elif how == "interrupted" and not life.adapter_kept and life.state in (State.RUNNING, State.FINALIZING):
            life.state = State.FINALIZING  # as far as a finish comes that something interrupts
            with pytest.raises(Conflict):
                end()
        elif life.ended(how):
            end()
        else:
            with self.nothing_changes(InvalidTransition):
                end()

    def _succeed(self, job: JobId, fence: Fence) -> Any:
        return self.worker.succeed(job, fence, training_nfe=1, training_fe=1.0, code_version="t")

    def _fail(self, job: JobId, fence: Fence, *, retry: bool) -> Any:
        return self.worker.fail(job, fence, JobError("x", "y"), cause="crash", retry=retry)

    def _attempt(self, whose: int) -> tuple[JobId, Fence, Life | None]:
        """An attempt, and its job where it owns it. Where a rightful one is wanted and there is none, a worker claims first."""
        if whose >= 0 and not self._owned():
            self.a_worker_claims()
            self.the_database_says_what_the_model_says()
        owned = self._owned()
        job, fence = owned[whose % len(owned)] if owned and whose >= 0 else self.given[whose % len(self.given)]
        life = self.lives.get(job)
        owner = life if life and life.owned_by(fence) else None
        self.seen["rightful" if owner else "stale"] += 1
        return job, fence, owner

    def _owned(self) -> list[tuple[JobId, Fence]]:
        return [(life.id, Fence(life.fence)) for life in self.lives.values() if life.state in OWNED]


def test_any_order_of_verbs_does_what_the_model_says(world: World) -> None:
    seen: Counter[str] = Counter()
    run_state_machine_as_test(lambda: LifeOfJobs(world, seen), settings=CHOSEN)
    assert set(State) - set(seen) == set(), "every state was reached"
    assert min(seen["rightful"], seen["stale"]) > 100, "and both kinds of attempts were tried"


BROKEN: dict[str, tuple[str, Callable[..., Any]]] = {
    "the fence is not asked for": ("service.adapters.db.job_writes.owned_by", lambda job, fence: jobs.c.id == job),
    "any state may follow": ("service.operations.moves.check_transition", lambda before, after: None),
    "claims reap nothing": ("service.operations.attempts.reap", lambda unit, limits: 0),
    "attempts have no limit": ("service.operations.moves.after_lost_attempt", lambda state, **_: State.QUEUED),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_build_is_found_out(world: World, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BROKEN[fault])
    once = settings(SHORT, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises((AssertionError, pytest.fail.Exception, StropError, RuntimeError, IntegrityError)):
        run_state_machine_as_test(lambda: LifeOfJobs(world, Counter()), settings=once)
