"""Faults of the doorbell, and of those who ring it or see to what it forgets."""

import random
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from secrets import token_hex

import httpx
import psutil
import redis

from service.adapters.queue import WAKE, make_celery
from service.adapters.queue.celery import QUEUE
from service.domain.jobs import State
from service.domain.principals import LOCAL
from tests.eventually import eventually
from tests.faults import history
from tests.faults.history import History
from tests.faults.row import Figures, Row, percentile
from tests.faults.rows.workers import Crew, reclaims
from tests.faults.site import BODY, Gateway, Site, now, request

POLL_SECONDS = 5.0
"""The default: what a lost ring costs at most is one and a half of it (jitter)."""


def delays(told: History) -> list[float]:
    """Seconds from each job's commit to its first start."""
    starts = {id: told.of_type(id, "job.started") for id in told.jobs}
    return [
        (events[0].created_at - told.jobs[id].created_at).total_seconds() for id, events in starts.items() if events
    ]


def lost(site: Site, told: History) -> int:
    return len({id for ids in site.accepted.values() for id in ids} - told.jobs.keys())


def broker_dies(site: Site, rounds: int) -> Figures:
    """Killed and back empty, with jobs posted before, while it is away, and after; the bell alone wakes a worker again."""
    site.worker(poll_seconds=POLL_SECONDS)
    waits = []
    for _ in range(rounds):
        site.submit()
        site.stop("broker")
        site.submit()
        site.start("broker")
        site.submit()
        site.settle(40)
    deaf = site.worker(poll_seconds=300)  # looks once at its start, and never again unless it is rung for
    eventually(lambda: deaf.has_said(" ready."), 60)
    for _ in range(rounds):
        site.stop("broker")
        site.start("broker")
        back = now()
        while True:  # bounded by `reaches`: rings until one is heard
            id = site.submit(steps=1)
            started = site.reaches(id, State.SUCCEEDED, seconds=40).attempts[0]
            if started.worker == deaf.name or now() - back > 40:
                break
        waits.append(started.started_at.timestamp() - back)
    told = history.read(site.database)
    return {"lost": lost(site, told), "stall p99 s": percentile(delays(told), 0.99), "rung again after s": max(waits)}


def broker_resets(site: Site, rounds: int) -> Figures:
    """All connections to it are reset every 2 to 3 s, so many times, while a job is posted twice a second."""
    proxy = site.proxy("broker")
    site.use_base(site.folder / "base")  # the submitter's bell goes through the proxy too
    site.worker(poll_seconds=POLL_SECONDS)
    cut = 0
    for _ in range(rounds):
        until = now() + random.uniform(2, 3)
        while now() < until:
            site.submit(steps=1)
            moment = now() + 0.5
            eventually(lambda moment=moment: now() >= moment, 5)
        cut += proxy.reset_all()
    site.settle(60)
    told = history.read(site.database)
    return {
        "lost": lost(site, told), "stall p99 s": percentile(delays(told), 0.99), "jobs": len(told.jobs),
        "connections cut": cut,
    }  # fmt: skip


def five_deliveries(site: Site, rounds: int) -> Figures:
    """Each message is put into the queue five times, the very same bytes, and Redis gives out unacknowledged ones after 2 s."""
    for _ in range(2):
        site.worker(before=("tests.faults.impatient",), poll_seconds=POLL_SECONDS)
    with closing(_client(site)) as broker:
        for number in range(rounds):
            _deliver(site, broker, 5)
            site.submit(steps=150 if number % 5 == 0 else 3)  # 3 s: longer than the visibility timeout
            _deliver(site, broker, 5)
        site.settle(20 + 3 * rounds)
        left = broker.llen(QUEUE)
    told = history.read(site.database)
    starts = sum(len(told.of_type(id, "job.started")) for id in told.jobs)
    again = sum(len(told.of_type(id, "job.requeued")) for id in told.jobs)
    return {"duplicate starts": starts - again - len(told.jobs), "jobs": len(told.jobs), "messages left": int(left)}


def _client(site: Site) -> "redis.Redis[bytes]":
    url = site.environment()["STROP_BROKER_URL"]
    return redis.Redis.from_url(url.replace("redis+socket", "unix").replace("virtual_host", "db"))


def _deliver(site: Site, broker: "redis.Redis[bytes]", times: int) -> None:
    """One message as Celery makes it, so many times."""
    aside = f"aside-{token_hex(4)}"
    app = make_celery(site.environment()["STROP_BROKER_URL"])
    app.conf.task_create_missing_queues = True
    app.send_task(WAKE, queue=aside, ignore_result=True)
    message = broker.lpop(aside)
    app.close()
    assert message is not None
    broker.lpush(QUEUE, *[bytes(message).replace(aside.encode(), QUEUE.encode())] * times)


def dies_before_the_ring(site: Site, rounds: int) -> Figures:
    """The gateway dies between the commit and the ring; its caller asks again with the same key, of the next gateway."""
    site.worker(poll_seconds=POLL_SECONDS)
    for number in range(rounds):
        doomed = site.gateway(build="late_bell")
        with suppress(httpx.TransportError), closing(doomed.client):
            answer = doomed.client.post("/jobs", json=body(f"k{number}"), headers={"Idempotency-Key": f"k{number}"})
            raise AssertionError(f"it should have died, but said {answer.status_code}")
        doomed.program.wait(10)
    site.settle(15)
    gateway = site.gateway()
    with closing(gateway.client):
        for number in range(rounds):
            post(site, lambda: gateway, f"k{number}")
    told = history.read(site.database)
    return {
        "lost": rounds - len({id for ids in site.accepted.values() for id in ids} & told.jobs.keys()),
        "made twice": len(told.jobs) - rounds, "delay p50 s": percentile(delays(told), 0.5),
        "delay p99 s": percentile(delays(told), 0.99),
    }  # fmt: skip


def body(key: str, **fields: object) -> dict[str, object]:
    metadata = request(key, seconds=0.01).metadata
    return {**BODY, "steps": 1, "checkpoint_every": 2, "metadata": metadata, **fields}


def post(site: Site, gateway: Callable[[], Gateway], key: str, **fields: object) -> list[int]:
    """Post until it is answered with a job, as a good client does: the same key each time. Returns the other statuses."""
    others: list[int] = []
    until = now() + 240
    while now() < until:
        try:
            answer = gateway().client.post("/jobs", json=body(key, **fields), headers={"Idempotency-Key": key})
        except httpx.TransportError:
            moment = now() + random.uniform(0.05, 0.2)
            eventually(lambda moment=moment: now() >= moment, 5)
            continue
        if answer.is_success:
            site.accepted.setdefault(key, set()).add(answer.json()["id"])
            return others
        others.append(answer.status_code)
        assert answer.status_code == 503, f"{answer.status_code} {answer.text[:200]}"
        assert int(answer.headers["Retry-After"]) >= 0
    raise AssertionError(f"{key} was not taken within 240 s; answers: {others[-3:]}")


def gateway_dies(site: Site, rounds: int) -> Figures:
    """SIGKILL to the gateway, up to once for 15 jobs, while eight clients post so many with keys and try again."""
    gateways = [site.gateway()]
    port, keys, lock = gateways[0].port, iter(range(rounds)), threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                with lock:
                    number = next(keys, None)
                if number is None:
                    return
                post(site, lambda: gateways[-1], f"k{number}")
        except BaseException as error:
            failures.append(error)

    clients = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for client in clients:
        client.start()
    kills = 0
    while kills < max(2, rounds // 15) and len(site.accepted) < rounds:
        before = len(site.accepted)
        eventually(lambda before=before: len(site.accepted) > before, 60)  # each gateway takes one at least
        moment = now() + random.uniform(0, 0.5)
        eventually(lambda moment=moment: now() >= moment, 5)
        gateways[-1].program.kill()
        gateways.append(site.gateway(port, seconds=60))
        kills += 1
    for client in clients:
        client.join(120)
    assert not failures, failures[0]
    for gateway in gateways:
        gateway.client.close()
    told = history.read(site.database)
    for id in list(told.jobs)[:-10]:  # ten are trained, so that the rest of their life is seen too
        site.jobs.cancel(LOCAL, told.jobs[id].id)
    site.worker()
    return {"duplicates": len(told.jobs) - rounds, "lost": lost(site, told), "kills": kills, "jobs": len(told.jobs)}


def steward_dies(site: Site, rounds: int) -> Figures:
    """SIGKILL to the steward, then to a worker with a job: the claims of the others reap it."""
    crew = Crew(site, 2)
    killed_at = {}
    for _ in range(rounds):
        steward = site.steward()
        id = site.submit(steps=200, checkpoint_every=5)
        site.trains(id, 3)
        steward.kill()
        victim = site.owner(id)
        assert victim is not None and psutil.pid_exists(victim.pid)
        killed_at[id] = now()
        crew.kill(victim)
        site.reaches(id, State.SUCCEEDED, seconds=60)
    return reclaims(history.read(site.database), killed_at)


ROWS = (
    Row(
        "broker killed and back empty", "I1, I4, consumption resumes", broker_dies, 5, 1, (6, 12),
        none=("lost",), own=frozenset({"broker"}),
    ),
    Row(
        "broker's connections reset every 2 to 3 s", "I1, I4, consumption resumes", broker_resets, 10, 1, (8, 3),
        parts=("real",), none=("lost",),
    ),
    Row(
        "every message delivered 5 times, visibility timeout 2 s", "I2, I3", five_deliveries, 20, 2, (6, 2),
        none=("duplicate starts",),
    ),
    Row(
        "crash between commit and ring", "I4", dies_before_the_ring, 10, 1, (8, 3), none=("lost", "made twice"),
    ),
    Row("steward SIGKILL", "I1, claims go on reaping", steward_dies, 10, 1, (3, 5)),
    Row(
        "gateway SIGKILL during submits, clients retry", "I4, one job a key", gateway_dies, 300, 20, (20, 0.1),
        none=("duplicates", "lost"),
    ),
)  # fmt: skip
