"""Faults of workers and of their children."""

import random
from contextlib import suppress

import psutil

from service.domain.jobs import State
from service.domain.principals import LOCAL
from tests.eventually import eventually
from tests.faults import history
from tests.faults.history import History
from tests.faults.processes import Program
from tests.faults.row import Figures, Row, percentile
from tests.faults.site import CALM, LEASE, Site, now

STEPS = 40


class Crew:
    """So many workers; who dies is replaced at once."""

    def __init__(self, site: Site, size: int, child: str = "fake") -> None:
        self._site, self._child = site, child
        self.workers = [site.worker(child) for _ in range(size)]

    def kill(self, victim: Program) -> None:
        victim.kill()
        self.workers.remove(victim)
        self.workers.append(self._site.worker(self._child))


def sigkill(
    site: Site, rounds: int, *, child: str = "fake", longest: float = 1.3, patience: float = 60, **job: object
) -> Figures:
    """SIGKILL to the worker that has the job, at a random moment after its start, also in staging and in the finish; in
    each second round after its first step."""
    crew = Crew(site, 3, child)
    killed_at: dict[str, float] = {}
    survivors = 0
    for number in range(rounds):
        id = site.submit(**{"steps": STEPS, "checkpoint_every": 5, **job})
        eventually(lambda id=id: site.job(id).attempts, 60)
        if number % 2:
            site.trains(id, 1, seconds=patience)
        moment = now() + random.uniform(0, longest / 2 if number % 2 else longest)
        eventually(lambda moment=moment: now() >= moment, patience)
        if (victim := site.owner(id)) is not None:
            theirs = [process.pid for process in psutil.Process(victim.pid).children()]
            killed_at[id] = now()
            crew.kill(victim)
            with suppress(AssertionError):
                eventually(lambda theirs=theirs: not any(map(_lives, theirs)), 2)
            survivors += sum(map(_lives, theirs))
        site.reaches(id, State.SUCCEEDED, seconds=patience)
    told = history.read(site.database)
    return reclaims(told, killed_at) | {"kills": len(killed_at), "children that outlived it": survivors}


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def reclaims(told: History, killed_at: dict[str, float]) -> Figures:
    """From each kill to the next start of its job; and the steps that had to be done again."""
    waits, lost = [], []
    for id, moment in killed_at.items():
        later = [event for event in told.of_type(id, "job.started") if event.created_at.timestamp() > moment]
        if not later:  # it had finished before the kill
            continue
        waits.append(later[0].created_at.timestamp() - moment)
        fence = later[0].fence
        reached = [event.step for event in told.of_type(id, "job.step") if event.fence < fence]
        resumed = [event.step for event in told.of_type(id, "job.resumed") if event.fence == fence]
        lost.append(max(reached, default=0) - max(resumed, default=0))
    return {
        "reclaim p50 s": percentile(waits, 0.5),
        "reclaim p99 s": percentile(waits, 0.99),
        "steps lost, mean": sum(lost) / len(lost) if lost else 0.0,
        "steps lost, most": max(lost, default=0),
    }


def sigstop(site: Site, rounds: int) -> Figures:
    """The worker of a running job is stopped for two leases, in which another takes the job, and goes on then.

    Stopped in the middle of a transaction it holds the job's row (SQLite: the database) as long as it is stopped, and
    nobody can take the job before it goes on.
    """
    for _ in range(2):
        site.worker()
    stale = refused = taken = 0
    for _ in range(rounds):
        id = site.submit(steps=150, seconds=0.03, checkpoint_every=10)
        site.trains(id, random.randint(1, 10))
        frozen = site.owner(id)
        assert frozen is not None
        frozen.freeze()
        moment = now() + 2 * LEASE
        eventually(lambda moment=moment: now() >= moment, 20)
        taken += site.job(id).fence > 1
        frozen.thaw()
        site.reaches(id, State.SUCCEEDED, seconds=60)
        told = history.read(site.database)
        second = min(event.number for event in told.of_type(id, "job.started") if event.fence > 1)
        stale += sum(event.fence == 1 and event.number > second for event in told.events[id])
        refused += frozen.has_said(f"{id}-1: the attempt no longer owns the job")
    return {"stale writes accepted": stale, "stale attempts refused": refused, "taken meanwhile": taken}


def child_dies(site: Site, rounds: int) -> Figures:
    """The child is killed, or runs out of memory (RLIMIT_AS), in its first attempt; or in every one, which ends the job, and once
    more after a retry."""
    site.settings |= CALM
    worker = site.worker()
    recoveries = miscounted = 0
    for number in range(rounds):
        for word in ("die_at", "oom_at"):
            once = site.submit(metadata={word: str(random.randint(1, 5))})
            causes = [attempt.cause for attempt in site.reaches(once, State.SUCCEEDED).attempts]
            recoveries += causes == ["child_crashed", "succeeded"]
            miscounted += causes != ["child_crashed", "succeeded"]
        if number % 5 == 0:
            poison = site.submit(metadata={"die_at": "1", "always": "yes"})
            failed = site.reaches(poison, State.FAILED)
            miscounted += [attempt.cause for attempt in failed.attempts] != ["child_crashed"] * 3
            site.jobs.retry(LOCAL, poison)
            failed = site.reaches(poison, State.FAILED)
            miscounted += [attempt.cause for attempt in failed.attempts] != ["child_crashed"] * 6
    return {"recoveries": recoveries, "attempts miscounted": miscounted, "parents lost": int(not worker.lives)}


def child_hangs(site: Site, rounds: int) -> Figures:
    """The child holds 100 MB and says nothing more: after the step timeout (2 s here) it is ended, and its memory is free."""
    site.settings |= CALM | {"STEP_TIMEOUT": 2.0}
    site.worker()
    waits, held, misses = [], 0, 0
    for _ in range(rounds):
        id = site.submit(seconds=0.05, metadata={"hang_at": "3", "hold": "100"})
        site.trains(id, 3)
        children = site.children()
        site.reaches(id, State.SUCCEEDED)
        held += sum(_lives(child.pid) for child in children if child.fence == 1)
        told = history.read(site.database)
        last = [event for event in told.of_type(id, "job.step") if event.fence == 1][-1]
        (ended,) = told.of_type(id, "job.requeued")
        misses += ended.data["cause"] != "stuck"
        waits.append((ended.created_at - last.created_at).total_seconds())
    return {
        "detection p99 s": percentile(waits, 0.99), "step timeout s": 2.0, "not told as stuck": misses,
        "children left": held,
    }  # fmt: skip


def disk_full(site: Site, rounds: int) -> Figures:
    """After step 3 the child's files may have 20 kB (RLIMIT_FSIZE) and its checkpoint has 100: the one before is whole."""
    site.settings |= CALM
    site.worker()
    other = 0
    for _ in range(rounds):
        id = site.submit(metadata={"full_at": "3"})
        done = site.reaches(id, State.SUCCEEDED)
        other += [attempt.cause for attempt in done.attempts] != ["no_scratch", "succeeded"]
        told = history.read(site.database)
        other += [event.step for event in told.of_type(id, "job.resumed")] != [2]
    return {"torn": len([violation for violation in site.verdict()[0] if violation.name == "I2"]), "other ends": other}


ROWS = (
    Row(
        "worker SIGKILL at a random moment", "I1-I3, child dies too", sigkill, 50, 3, (4, 4.5),
        none=("children that outlived it",),
    ),
    Row("worker SIGSTOP for two leases, then on", "I3", sigstop, 10, 1, (4, 8), none=("stale writes accepted",)),
    Row(
        "child killed, child out of memory (RLIMIT_AS)", "parent lives, attempts counted", child_dies, 10, 1, (3, 2),
        none=("attempts miscounted", "parents lost"),
    ),
    Row(
        "child hangs without an event", "ends as stuck, memory free", child_hangs, 5, 1, (3, 3.5),
        none=("not told as stuck", "children left"),
    ),
    Row("disk full (RLIMIT_FSIZE)", "the old checkpoint is whole", disk_full, 10, 2, (3, 1.2), none=("torn", "other ends")),
)  # fmt: skip
