"""Rows with real training: the tests' smallest Stable Diffusion, the real child, and weights compared bit for bit."""

import random
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from service.domain.artifacts import Kind
from service.domain.ids import JobId
from service.domain.jobs import State
from tests.faults import history
from tests.faults.processes import Program
from tests.faults.row import BOTH, REAL, Figures, Row, percentile
from tests.faults.rows.workers import sigkill
from tests.faults.site import CALM, Site, now

METHOD = {
    "type": "sharpening-rlhf", "candidates": 2, "rollout_steps": 2, "prompts_per_step": 1, "timesteps_per_pair": 1,
}  # fmt: skip
JOB: dict[str, Any] = {
    "method": METHOD, "lora": {"rank": 4}, "samples": {"every": 0}, "steps": 30, "checkpoint_every": 3,
}  # fmt: skip


def undisturbed(site: Site) -> tuple[str, float]:
    """Of a job that nothing befalls: its adapter's digest, and how long its attempt took. All jobs here are that job."""
    site.use_base(site.servers.tiny_base())
    site.settings |= CALM
    worker = site.worker("real")
    (attempt,) = site.reaches(id := site.submit(**JOB), State.SUCCEEDED, State.FAILED, seconds=240).attempts
    worker.kill()
    assert attempt.ended_at is not None and attempt.cause == "succeeded", attempt
    return adapters(site)[id], (attempt.ended_at - attempt.started_at).total_seconds()


def adapters(site: Site) -> dict[str, str]:
    """SHA-256 by job."""
    return {row.job_id: row.sha256 for row in history.read(site.database).artifacts if row.kind == Kind.ADAPTER}


def trained_sigkill(site: Site, rounds: int) -> Figures:
    """As the row without torch, with a lease of 10 s; and the adapter has the bits of the undisturbed one."""
    right, seconds = undisturbed(site)
    figures = sigkill(site, rounds, child="real", longest=seconds, patience=240, **JOB)
    return figures | {"other weights": _unlike(site, right)}


def _unlike(site: Site, right: str) -> int:
    return sum(sha256 != right for sha256 in adapters(site).values())


def sigterm(site: Site, rounds: int, *, child: str = "fake", **job: object) -> Figures:
    """SIGTERM to the worker that has the job: it is gone within 30 s, and another goes on where it was."""
    site.settings |= CALM
    workers = [site.worker(child) for _ in range(2)]
    drains, lost, late, unlike = [], 0, 0, 0
    for _ in range(rounds):
        id = site.submit(**{"steps": 200, "checkpoint_every": 1000, **job})
        step = site.trains(id, random.randint(1, 10), seconds=120).progress.step
        victim = site.owner(id)
        assert victim is not None, f"{id} ended before its worker was asked to stop"
        began = now()
        try:
            victim.terminate(30)
        except subprocess.TimeoutExpired:
            late += 1
        drains.append(now() - began)
        workers.append(site.worker(child))
        done = site.reaches(id, State.SUCCEEDED, seconds=180)
        unlike += [attempt.cause for attempt in done.attempts] != ["handed_back", "succeeded"]
        unlike += len({attempt.worker for attempt in done.attempts}) != 2
        steps = [event.step for event in history.read(site.database).of_type(id, "job.step")]
        lost += len(steps) - len(set(steps))
        assert max(steps) >= step
    return {
        "drain p50 s": percentile(drains, 0.5), "drain p99 s": percentile(drains, 0.99), "steps lost": lost,
        "later than 30 s": late, "other ends": unlike,
    }  # fmt: skip


def trained_sigterm(site: Site, rounds: int) -> Figures:
    right, _ = undisturbed(site)
    figures = sigterm(site, rounds, child="real", **JOB)
    return figures | {"other weights": _unlike(site, right)}


ENDS = {
    "nan": (State.FAILED, "reward_error", 1),
    "short": (State.FAILED, "reward_error", 1),
    "words": (State.FAILED, "reward_error", 1),
    "limited": (State.FAILED, "reward_unavailable", 2),
    "busy": (State.SUCCEEDED, None, 1),
    "hang": (State.FAILED, "stuck", 1),
}
"""How a job ends whose reward is so: state, code, attempts (of two at most; of one where it hangs)."""


def strange_rewards(site: Site, rounds: int) -> Figures:
    """The reward hangs, answers nonsense, or its server says 429, at every call but the first."""
    worker = _strange(site)
    others = defaults = 0
    asked: list[int] = []
    with LimitedServer() as server:
        for mood, end in [(mood, end) for mood, end in ENDS.items() for _ in range(rounds)]:
            if mood == "hang" and worker.lives:  # the others' step timeout leaves a loaded machine time to load torch
                worker.kill()
                site.worker("strange", step_timeout=20, attempt_limit=1)
            server.asked, server.patience = 0, {"busy": 2}.get(mood, 1000)
            id, told = _end_of(site, mood, str(server.port))
            others += told != end
            if end[0] is State.FAILED:  # a step is one call
                steps = history.read(site.database).of_type(id, "job.step")
                defaults += sum(event.step > (mood != "limited") for event in steps)
            if mood == "limited":
                asked.append(server.asked)
    return {"default scores": defaults, "other ends": others, "requests to a server that says 429": max(asked)}


def short_of_room(site: Site, rounds: int) -> Figures:
    """Real training without memory (RLIMIT_AS), which fails it by name; and without disk (RLIMIT_FSIZE), which a second
    attempt finds, and goes on from the checkpoint before."""
    _strange(site)
    others = 0
    for _ in range(rounds):
        _, told = _end_of(site, "hungry")
        others += told != (State.FAILED, "out_of_memory", 1)
        id, told = _end_of(site, "full")
        others += told != (State.SUCCEEDED, None, 2)
        others += [event.step for event in history.read(site.database).of_type(id, "job.resumed")] != [1]
    torn = [violation for violation in site.verdict()[0] if violation.name == "I2"]
    return {"torn": len(torn), "other ends": others}


def _strange(site: Site) -> Program:
    site.use_base(site.servers.tiny_base())
    site.settings |= CALM
    return site.worker("strange", step_timeout=120, attempt_limit=2)


def _end_of(site: Site, mood: str, port: str = "") -> tuple[JobId, tuple[State, str | None, int]]:
    id = site.submit(**{**JOB, "steps": 4, "checkpoint_every": 1, "metadata": {"reward": mood, "port": port}})
    done = site.reaches(id, State.SUCCEEDED, State.FAILED, seconds=120)
    return id, (done.state, done.error.code if done.error else None, len(done.attempts))


class LimitedServer:
    """A reward's server on a free port: it says 429 to the first `patience` requests, 200 then."""

    def __init__(self) -> None:
        self.asked, self.patience = 0, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                self.send_response(429 if outer.asked <= outer.patience else 200)
                self.send_header("Content-Length", "0")
                self.send_header("Retry-After", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> "LimitedServer":
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


ROWS = (
    Row("worker SIGKILL at a random moment, real training", "I1-I3, child dies too", trained_sigkill, 5, 0, (25, 25), REAL,
        none=("children that outlived it", "other weights")),
    Row("SIGTERM with 30 s", "resumed elsewhere", sigterm, 10, 1, (3, 4), BOTH,
        none=("steps lost", "later than 30 s", "other ends")),
    Row("SIGTERM with 30 s, real training", "resumed elsewhere, same weights", trained_sigterm, 3, 0, (25, 25), REAL,
        none=("steps lost", "later than 30 s", "other ends", "other weights")),
    Row("reward hangs, answers garbage, answers 429", "explicit failure, bounded retries", strange_rewards, 1, 0, (10, 130),
        REAL, none=("default scores", "other ends")),
    Row("disk full and out of memory, real training", "the old checkpoint is whole, attempts counted", short_of_room, 1, 0,
        (10, 45), REAL, none=("torn", "other ends")),
)  # fmt: skip
