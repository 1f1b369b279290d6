"""One row's place: a database, a broker, a store, proxies before them where they are asked for, and the processes on them."""

import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
from sqlalchemy import select

from service.adapters import catalogue, db, storage
from service.adapters.db.tables import jobs
from service.adapters.queue import Doorbell
from service.domain.ids import JobId, new_job_id
from service.domain.jobs import TERMINAL, Job, State
from service.domain.principals import LOCAL
from service.domain.recipes import JobRequest
from service.operations.jobs import Jobs
from tests.eventually import eventually
from tests.faults import history
from tests.faults.checker import Evidence, Violation, check
from tests.faults.history import History
from tests.faults.processes import Child, Program, children_below
from tests.faults.proxy import Proxy
from tests.faults.servers import Servers, make_template, new_database
from tests.servers import postgresql, valkey
from tests.servers.processes import free_port

Parts = Literal["real", "embedded"]
Server = Literal["database", "broker", "store"]
LEASE = 2.0
CALM = {"LEASE_SECONDS": 10}
"""For rows that are not about leases: a worker that a loaded machine holds up for 2 s is no finding there."""
KEY = "a-key-of-sixteen"
SETTINGS = {"LEASE_SECONDS": LEASE, "BACKOFF_SECONDS": 0, "POLL_SECONDS": 0.5, "DEVICE": "cpu", "API_KEY": KEY}
BODY = {"base_model": "b", "prompts": ["a red dot"], "reward": {"type": "jpeg-compressibility"}}


class Site:
    """`own`: the servers that this row may stop: they are not the shared ones. `build`: what is taken out of Strop here.
    `patience`: a factor of all waiting for ends that may never come.

    `jobs`, `database` and `store` go straight to the servers, whatever the proxies do.
    """

    def __init__(
        self,
        folder: Path,
        parts: Parts,
        servers: Servers,
        *,
        own: frozenset[Server] = frozenset(),
        build: str = "",
        patience: float = 1.0,
    ) -> None:
        self.folder, self.parts, self.servers, self.build, self._patience = folder, parts, servers, build, patience
        self.accepted: dict[str, set[str]] = {}
        self.damaged: set[str] = set()
        self.programs: list[Program] = []
        self._stack = ExitStack()
        self._base = folder / "base"
        self._base.mkdir()
        self._urls = self._make(own)
        self.settings: dict[str, object] = dict(SETTINGS)
        self.database = self._stack.enter_context(closing(db.connect(self._urls["database"], connections=20)))
        self.store = storage.make(*self._store_of(self._urls["store"]))
        self.use_base(self._base)

    def _make(self, own: frozenset[Server]) -> dict[Server, str]:
        """The addresses of this row's database, broker and store; its own servers are started."""
        real = self.parts == "real"
        self.cluster = self._stack.enter_context(postgresql.cluster()) if "database" in own else None
        self.broker = self._stack.enter_context(valkey.broker(tcp=real)) if "broker" in own else None
        self._lives: dict[Server, ExitStack] = {"database": ExitStack(), "broker": ExitStack()}
        for server in own:
            self.start(server)
        if self.cluster is not None:
            make_template(self.cluster.url)
            database = new_database(self.cluster.url)
        else:
            database = self.servers.postgresql_database() if real else self.servers.sqlite_database(self.folder)
        if self.broker is None and not real:  # the socket of a broker that nobody stops
            unstopped = self._stack.enter_context(valkey.broker(tcp=False))
            self._stack.enter_context(unstopped.running())
            broker = unstopped.url
        else:
            broker = self.broker.url if self.broker is not None else self.servers.redis_database()
        bucket = f"s3://{self.servers.s3.bucket}/{new_job_id()}"
        store = f"{bucket}#{self.servers.s3.endpoint}" if real else f"file://{self.folder / 'store'}"
        return {"database": database, "broker": broker, "store": store}

    @staticmethod
    def _store_of(url: str) -> tuple[str, str | None]:
        """(its URL, the endpoint of an S3 server)."""
        store, _, endpoint = url.partition("#")
        return store, endpoint or None

    def start(self, server: Server) -> None:
        """Start the row's own server, again if it was stopped."""
        made = self.cluster if server == "database" else self.broker
        assert made is not None, f"the row does not own its {server}"
        self._lives[server].enter_context(made.running())

    def stop(self, server: Server) -> None:
        """End it at once, as in a crash. A broker is empty after it."""
        self._lives[server].close()

    def proxy(self, server: Server) -> Proxy:
        """A new proxy before a server: processes that are started from now on go through it."""
        address = self._store_of(self._urls[server])[1] if server == "store" else self._urls[server]
        parts = urlsplit(address or "")
        assert parts.hostname and parts.port, f"{server} is not reached over TCP"
        proxy = self._stack.enter_context(closing(Proxy(parts.hostname, parts.port)))
        self._urls = self._urls | {
            server: self._urls[server].replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{proxy.port}")
        }
        return proxy

    def use_folder(self) -> None:
        """As the store, in place of S3."""
        self._urls = self._urls | {"store": f"file://{self.folder / 'store'}"}
        self.store = storage.make(self._urls["store"])
        self.use_base(self._base)

    def use_base(self, folder: Path) -> None:
        """Which folder the base model `b` is."""
        path = self.folder / "catalogue.toml"
        path.write_text(f'[bases.b]\nsource = "{folder}"\nfamily = "sd"\nresolution = 64\n')
        self.jobs = Jobs(self.database, Doorbell(self._urls["broker"]), catalogue.load(path), self.store)

    def environment(self, **settings: object) -> dict[str, str]:
        store, endpoint = self._store_of(self._urls["store"])
        given: dict[str, object] = {
            "STATE_DIR": self.folder, "DATABASE_URL": self._urls["database"], "BROKER_URL": self._urls["broker"],
            "STORE_URL": store, "S3_ENDPOINT_URL": endpoint or "", "CATALOGUE": self.folder / "catalogue.toml",
            **self.settings, **{name.upper(): value for name, value in settings.items()},
        }  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("STROP_", "FAULTS_"))}
        ours = {"OMP_NUM_THREADS": "1", "FAULTS_BUILD": self.build}
        return inherited | ours | {f"STROP_{name}": str(value) for name, value in given.items()}

    def worker(self, child: str = "fake", *, before: tuple[str, ...] = (), **settings: object) -> Program:
        """`before`: words between `python -m` and `celery`."""
        name = f"worker-{len(self.programs)}"
        environment = self.environment(worker_name=name, **settings) | {"FAULTS_CHILD": child}
        command = (sys.executable, "-m", *before, "celery", "-A", "tests.faults.worker_app", "worker")
        return self._program(name, command, environment)

    def steward(self) -> Program:
        return self._program("steward", (sys.executable, "-m", "service.manage", "steward"), self.environment())

    def gateway(self, port: int | None = None, *, build: str | None = None, seconds: float = 120) -> "Gateway":
        """Ready when this returns."""
        port = port or free_port()
        environment = self.environment(port=port, grpc_port=0)
        if build is not None:
            environment["FAULTS_BUILD"] = build
        command = (
            sys.executable, "-m", "uvicorn", "--factory", "--no-access-log", "--port", str(port),
            "tests.faults.gateway_app:create_app",
        )  # fmt: skip
        gateway = Gateway(self._program("gateway", command, environment), port)
        eventually(gateway.is_ready, seconds)
        return gateway

    def _program(self, name: str, command: tuple[str, ...], environment: Mapping[str, str]) -> Program:
        log = self.folder / f"{len(self.programs)}-{name}.log"
        self.programs.append(Program(name, command, environment, log))
        return self.programs[-1]

    def submit(self, key: str = "", **fields: Any) -> JobId:
        """Of a job that trains 6 steps of 20 ms with a checkpoint each second step, unless `fields` say otherwise."""
        job = self.jobs.submit(LOCAL, request(key, **fields))[0].id
        self.accepted.setdefault(key or job, set()).add(job)
        return job

    def job(self, job: JobId) -> Job:
        return self.jobs.get(LOCAL, job)

    def reaches(self, job: JobId, *states: State, seconds: float = 30) -> Job:
        patience = seconds * self._patience
        return eventually(lambda: (found := self.job(job)).state in states and found, patience) or self.job(job)

    def trains(self, job: JobId, step: int = 1, seconds: float = 120) -> Job:
        return eventually(lambda: (found := self.job(job)).progress.step >= step and found, seconds) or self.job(job)

    def owner(self, job: JobId) -> Program | None:
        """The worker of the newest attempt, if that still runs."""
        attempts = self.job(job).attempts
        if not attempts or attempts[-1].ended_at is not None:
            return None
        return next(program for program in self.programs if program.name == attempts[-1].worker)

    def children(self) -> list[Child]:
        return children_below(self.folder)

    def unsettled(self) -> int:
        """Jobs that are neither at an end nor paused."""
        with self.database.engine.begin() as connection:
            states = connection.execute(select(jobs.c.state)).scalars().all()
        return sum(State(state) not in TERMINAL | {State.PAUSED} for state in states)

    def settle(self, seconds: float) -> None:
        """Wait until every job is at an end, or `seconds`: what is left then is for the checker."""
        with suppress(AssertionError):
            eventually(lambda: not self.unsettled(), seconds * self._patience)

    def verdict(self) -> tuple[list[Violation], History]:
        """What the checker says, once children had 2 s to go."""
        with suppress(AssertionError):
            eventually(lambda: not self._evidence_of_life(), 2)
        told = history.read(self.database)
        evidence = Evidence(self.accepted, self._evidence_of_life(), self.damaged)
        return check(told, self.store, evidence), told

    def _evidence_of_life(self) -> set[tuple[str, int]]:
        return {(child.job, child.fence) for child in self.children()}

    def close(self) -> None:
        for program in self.programs:
            program.thaw()
            program.kill()
        for child in self.children():
            child.kill()
        for life in self._lives.values():
            life.close()
        self._stack.close()


class Gateway:
    """The gateway's process, and a caller's way to it."""

    def __init__(self, program: Program, port: int) -> None:
        self.program, self.port = program, port
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {KEY}"}, timeout=30
        )

    def is_ready(self) -> bool:
        assert self.program.lives, self.program.log.read_text(errors="replace")[-2000:]
        with suppress(httpx.TransportError):
            return self.client.get("/readyz").status_code == httpx.codes.OK
        return False


def request(
    key: str = "", *, seconds: float = 0.02, metadata: Mapping[str, str] | None = None, **fields: Any
) -> JobRequest:
    named = {"key": key} if key else {}
    given = {"steps": 6, "checkpoint_every": 2, "metadata": {"seconds": str(seconds), **named, **(metadata or {})}}
    return JobRequest.model_validate(BODY | given | fields)


def now() -> float:
    """Of the machine, which is the databases' too: seconds since 1970."""
    return time.time()
