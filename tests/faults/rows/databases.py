"""Faults of PostgreSQL and of the way to it. Real parts only."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import psycopg

from service.domain.jobs import State
from service.domain.principals import LOCAL
from tests.eventually import eventually
from tests.faults import history
from tests.faults.proxy import Trap, cut_after, cut_before
from tests.faults.row import REAL, Figures, Row, percentile
from tests.faults.rows.queue import body, post
from tests.faults.site import CALM, Gateway, Site, now

CUTS = (cut_before, cut_after)


def restarts(site: Site, rounds: int) -> Figures:
    """PostgreSQL ends at once (as in a crash) and comes back, while jobs are posted and run and read."""
    for _ in range(2):
        site.worker()
    gateway = site.gateway()
    wrong = 0
    with closing(gateway.client), ThreadPoolExecutor(4) as clients:
        for number in range(rounds):
            posts = [clients.submit(post, site, lambda: gateway, f"k{number}-{part}", steps=30) for part in range(4)]
            moment = now() + random.uniform(0, 1.5)
            eventually(lambda moment=moment: now() >= moment, 5)
            site.stop("database")
            site.start("database")
            for done in posts:
                wrong += sum(status != httpx.codes.SERVICE_UNAVAILABLE for status in done.result(90))
        site.settle(60)
        wrong += _misread(site, gateway)
    told = history.read(site.database)
    return {
        "wrong answers": wrong, "jobs": len(told.jobs), "made twice": len(told.jobs) - 4 * rounds,
        "attempts lost": _causes(told).count("lease_lost"),
    }  # fmt: skip


def commits_cut(site: Site, rounds: int) -> Figures:
    """The connection is cut right before or right after a COMMIT: of the gateway while a job is posted, of the worker now
    and then. A caller that asks again with its key gets one job."""
    workers_way = site.proxy("database")
    site.worker()
    gateways_way = site.proxy("database")  # before the other proxy, which has no trap while jobs are posted
    gateway = site.gateway()
    wrong = refused = 0
    with closing(gateway.client):
        for number in range(rounds):
            gateways_way.trap = Trap(b"COMMIT", CUTS[number % 2], skip=number // 2 % 4)  # a post has about four
            statuses = post(site, lambda: gateway, f"k{number}", steps=10)
            gateways_way.trap = None
            refused += len(statuses)
            wrong += sum(status != httpx.codes.SERVICE_UNAVAILABLE for status in statuses)
            workers_way.trap = Trap(
                b"COMMIT", random.choice(CUTS), times=random.randint(1, 3), skip=random.randint(0, 9)
            )
            site.reaches(_id_of(site, number), State.SUCCEEDED, State.FAILED, seconds=40)
            workers_way.trap = None
        wrong += _misread(site, gateway)
    told = history.read(site.database)
    return {
        "wrong answers": wrong, "made twice": len(told.jobs) - rounds, "posts answered 503": refused,
        "jobs failed": sum(job.state == State.FAILED for job in told.jobs.values()),
        "attempts lost": _causes(told).count("lease_lost"),
    }  # fmt: skip


def _id_of(site: Site, number: int) -> str:
    (id,) = site.accepted[f"k{number}"]
    return id


def _misread(site: Site, gateway: Gateway) -> int:
    """Jobs that the gateway does not know, or tells otherwise than the database has them."""
    told = history.read(site.database)
    answers = {id: gateway.client.get(f"/jobs/{id}") for ids in site.accepted.values() for id in ids}
    return sum(
        not answer.is_success or id not in told.jobs or answer.json()["state"] != told.jobs[id].state
        for id, answer in answers.items()
    )


def _causes(told: history.History) -> list[str | None]:
    return [attempt.cause for attempts in told.attempts.values() for attempt in attempts]


def slow(site: Site, rounds: int) -> Figures:
    """Each answer of the database is 500 ms late and 60 callers at once exhaust the gateway's pool; then another client
    holds the events' table for longer than a lease, so that all of the worker's writes but its heartbeats queue.

    A heartbeat takes four or five round trips, 2.5 s, and may wait 10 s for the row of an event that waits: the lease is
    the default here, 30 s.
    """
    site.settings["LEASE_SECONDS"] = lease = 30.0
    proxy = site.proxy("database")
    gateway = site.gateway(seconds=60)
    site.worker()
    no_hint = other = refused = 0
    waits: list[float] = []

    def ask(number: int) -> httpx.Response:
        began = time.monotonic()
        answer = httpx.post(
            f"{gateway.client.base_url}/jobs", json=body(f"s{number}"), headers=dict(gateway.client.headers), timeout=60
        )
        waits.append(time.monotonic() - began)
        return answer

    with closing(gateway.client), ThreadPoolExecutor(60) as callers:
        for turn in range(rounds):
            long = site.submit(steps=3000, seconds=0.05, checkpoint_every=500, priority=10)
            eventually(lambda long=long: site.job(long).attempts, 40)
            proxy.latency = 0.5
            asked = range(60 * turn, 60 * turn + 60)
            for number, answer in zip(asked, callers.map(ask, asked), strict=True):
                if answer.is_success:
                    site.accepted[f"s{number}"] = {answer.json()["id"]}
                elif answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    refused += 1
                    no_hint += "Retry-After" not in answer.headers
                else:
                    other += 1
            proxy.latency = 0.0
            _hold_events(site, lease + 10)
            site.jobs.cancel(LOCAL, long)
            site.reaches(long, State.CANCELLED, State.SUCCEEDED, seconds=60)
    site.settle(120)
    told = history.read(site.database)
    return {
        "false lease losses": _causes(told).count("lease_lost"), "answered 503": refused,
        "503 without Retry-After": no_hint, "other answers": other, "answer p99 s": percentile(waits, 0.99),
    }  # fmt: skip


def _hold_events(site: Site, seconds: float) -> None:
    """Nobody can write events meanwhile."""
    with psycopg.connect(site.servers.postgresql + "/" + site.database.engine.url.database) as connection:  # type: ignore[operator]
        connection.execute("LOCK TABLE events IN EXCLUSIVE MODE")
        threading.Event().wait(seconds)


def shifted_clock(site: Site, rounds: int) -> Figures:
    """One worker's clock is an hour fast, another's an hour slow, a third's and the steward's are
    right: leases are the database's matter.

    Files go to a folder: S3 refuses requests that are signed a quarter of an hour off, whoever sends them.
    """
    site.use_folder()
    site.settings |= CALM
    for seconds in (3600, -3600, 0):
        site.worker(before=("tests.faults.shifted", str(seconds)) if seconds else ())
    for program in site.programs:
        eventually(lambda program=program: program.has_said(" ready."), 60)
    site.steward()
    for _ in range(rounds):
        for _ in range(3):
            site.submit(steps=150, seconds=0.03, checkpoint_every=20)
        site.settle(60)
    told = history.read(site.database)
    workers = {attempt.worker for attempts in told.attempts.values() for attempt in attempts}
    return {
        "false reaps": _causes(told).count("lease_lost"), "jobs": len(told.jobs),
        "workers without a job": 3 - len(workers),
    }  # fmt: skip


ROWS = (
    Row(
        "PostgreSQL restarted immediately", "I1", restarts, 8, 1, (10, 7), REAL,
        none=("wrong answers", "made twice"), own=frozenset({"database"}), settle_seconds=60,
    ),
    Row(
        "connection cut around COMMIT", "I1", commits_cut, 40, 4, (8, 2.5), REAL, none=("wrong answers", "made twice"),
    ),
    Row(
        "database slow by 500 ms, pool exhausted", "503 with Retry-After, heartbeats keep their own connection", slow,
        1, 0, (20, 90), REAL, none=("false lease losses", "503 without Retry-After", "other answers"), settle_seconds=90,
    ),
    Row("clock of a worker ± 1 h", "database clock only", shifted_clock, 5, 1, (6, 5), REAL, none=("false reaps", "workers without a job")),
)  # fmt: skip
