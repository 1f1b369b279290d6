"""What callers ask of a running job, at moments that suit nobody."""

import random
from contextlib import suppress

from service.domain.errors import InvalidTransition, StropError
from service.domain.ids import JobId
from service.domain.jobs import State
from service.domain.principals import LOCAL
from tests.eventually import eventually
from tests.faults import history
from tests.faults.history import History
from tests.faults.row import Figures, Row, percentile
from tests.faults.rows.workers import Crew
from tests.faults.site import Site, now

STEPS = 60
"""Of a job that is paused."""
TRIES = 5
"""Jobs of a round, at most, that may be quicker than their pause."""


def cancel_against_completion(site: Site, rounds: int) -> Figures:
    """A cancel comes at a random moment about the job's end; each second one comes to a job that has long to go."""
    for _ in range(2):
        site.worker()
    taken = 0
    for number in range(rounds):
        long = number % 2 == 0
        id = site.submit(steps=400, seconds=0.03) if long else site.submit(steps=10)
        site.trains(id, 1 if long else 9)
        moment = now() + random.uniform(0, 0.5)
        eventually(lambda moment=moment: now() >= moment, 5)
        with suppress(StropError):  # it had ended
            site.jobs.cancel(LOCAL, id)
            taken += 1
        site.reaches(id, State.SUCCEEDED, State.CANCELLED, seconds=30)
    told = history.read(site.database)
    succeeded = sum(job.state == State.SUCCEEDED for job in told.jobs.values())
    return {**_waits(told, "cancel", "job.cancelling", "job.cancelled"), "cancels taken": taken, "succeeded": succeeded}


def pause_and_resume(site: Site, rounds: int) -> Figures:
    """Paused at a random step, resumed, and in each second round the worker is killed just after the pause was asked for."""
    crew = Crew(site, 2)
    missed = lost = 0
    for number in range(rounds):
        id = next(filter(None, (_paused(site, crew, kill=number % 2 == 1) for _ in range(TRIES))), None)
        if id is None:
            missed += 1
            continue
        paused = site.job(id)
        site.jobs.resume(LOCAL, id)
        site.reaches(id, State.SUCCEEDED)
        if number % 2 == 0 and paused.progress.step < STEPS:  # the fake child keeps nothing of its last step
            told = history.read(site.database)
            steps = [event.step for event in told.of_type(id, "job.step")]
            lost += len(steps) - len(set(steps)) + (told.jobs[id].fence != paused.fence + 1)
    told = history.read(site.database)
    return {**_waits(told, "pause", "job.pausing", "job.paused"), "steps lost by a pause": lost, "not paused": missed}


def _paused(site: Site, crew: Crew, *, kill: bool) -> JobId | None:
    """A job that was paused under way; None where it came to its end before the pause came to it."""
    id = site.submit(steps=STEPS, checkpoint_every=1000)
    site.trains(id, random.randint(1, 20))
    victim = site.owner(id)
    try:
        site.jobs.pause(LOCAL, id)
    except InvalidTransition:
        site.reaches(id, State.SUCCEEDED)
        return None
    if kill and victim is not None:
        crew.kill(victim)
    return id if site.reaches(id, State.PAUSED, State.SUCCEEDED).state is State.PAUSED else None


def _waits(told: History, name: str, begin: str, end: str) -> Figures:
    """Seconds from the one event of a job to the other."""
    waits = []
    for id in told.jobs:
        asked, done = told.of_type(id, begin), told.of_type(id, end)
        if asked and done:
            waits.append((done[0].created_at - asked[0].created_at).total_seconds())
    return {f"{name} p50 s": percentile(waits, 0.5), f"{name} p99 s": percentile(waits, 0.99)}


ROWS = (
    Row("cancel against completion", "one terminal state, I5", cancel_against_completion, 40, 4, (3, 1)),
    Row(
        "pause, worker SIGKILL, resume", "I1-I3, no step lost by a pause", pause_and_resume, 20, 2, (3, 2.5),
        none=("steps lost by a pause", "not paused"),
    ),
)  # fmt: skip
