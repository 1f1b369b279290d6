"""`celery -A … worker` as a process: how it takes work, and how it ends, well or not."""

import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import httpx
import psutil
import pytest

from service.adapters.queue import WAKE, make_celery
from service.domain.artifacts import Kind
from service.domain.jobs import State
from service.domain.principals import LOCAL
from service.operations.waiting import Explaining
from tests.eventually import eventually
from tests.servers.processes import free_port
from tests.worker.fleet import ROOT, Fleet
from worker.tasks import register

pytestmark = pytest.mark.alone

NEVER = 300
UNHURRIED = 12
"""A lease for tests of other things: a loaded machine does not lose it."""


@pytest.fixture
def catalogue_file(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    path = tmp_path / "catalogue.toml"
    path.write_text('[bases.b]\nsource = "base"\nfamily = "sd"\n')
    return path


@pytest.fixture
def fleet(tmp_path: Path, sqlite_url: str, broker_url: str, catalogue_file: Path) -> Iterator[Fleet]:
    with make_celery(broker_url).connection_for_write() as connection:
        connection.default_channel.client.flushall()
    fleet = Fleet(tmp_path, sqlite_url, broker_url, catalogue_file)
    yield fleet
    fleet.close()


class TestImport:
    def test_loads_no_torch_and_makes_nothing(self) -> None:
        code = "import sys, worker.app; print(*({'torch', 'diffusers', 'transformers', 'peft'} & sys.modules.keys()))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""

    def test_of_the_app_with_a_wrong_setting_ends_with_a_sentence(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
        environment = {"STROP_LEASE_SECONDS": "0", "PATH": ""}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "STROP_LEASE_SECONDS" in done.stderr

    def test_registers_the_task_that_the_doorbell_names(self) -> None:
        app = make_celery("redis://127.0.0.1:1")
        register(app, lambda: None)
        assert {name for name in app.tasks if not name.startswith("celery.")} == {WAKE}


class TestWork:
    def test_begins_when_the_queue_rings(self, fleet: Fleet) -> None:
        fleet.worker(poll_seconds=NEVER).is_ready()
        fleet.reaches(fleet.submit(), State.SUCCEEDED)

    def test_begins_by_the_clock_where_nobody_rings_or_the_broker_is_away(self, fleet: Fleet, tmp_path: Path) -> None:
        worker = fleet.worker(broker_url=f"redis+socket://{tmp_path}/none?virtual_host=0")
        fleet.reaches(fleet.submit(), State.SUCCEEDED)
        assert worker.terminate() == 0

    def test_goes_on_until_none_is_left(self, fleet: Fleet) -> None:
        jobs = [fleet.submit() for _ in range(4)]
        fleet.worker(poll_seconds=NEVER)
        for job in jobs:
            fleet.reaches(job, State.SUCCEEDED)

    def test_that_was_rung_for_while_busy_is_not_forgotten(self, fleet: Fleet) -> None:
        fleet.worker(poll_seconds=NEVER).is_ready()
        first = fleet.submit(steps=20)
        fleet.trains(first)
        second = fleet.submit()
        fleet.reaches(second, State.SUCCEEDED)
        assert fleet.job(first).state is State.SUCCEEDED

    def test_that_is_rung_for_just_after_a_job_begins_at_once(self, fleet: Fleet) -> None:
        """Celery's loop turns once a second by itself: a ring that had to wait for that waited for half of one."""
        fleet.worker(poll_seconds=NEVER).is_ready()
        waits = []
        for _ in range(7):
            done = fleet.reaches(fleet.submit(steps=1), State.SUCCEEDED)
            waits.append((done.attempts[0].started_at - done.created_at).total_seconds())
        assert statistics.median(waits) < 0.25, waits

    def test_that_no_worker_can_take_says_what_the_running_ones_lack(self, fleet: Fleet) -> None:
        job = fleet.submit(needs={"labels": ["big"]})
        steward = Explaining(fleet.database, due_seconds=0)
        worker = fleet.worker(worker_labels="small").is_ready()

        def said() -> str:
            steward.turn()
            return fleet.job(job).wait_reason or ""

        eventually(lambda: said().startswith("no worker that is up can take it: none carries the label 'big'"))
        worker.terminate()
        fleet.worker(worker_labels="small,big")
        assert fleet.reaches(job, State.SUCCEEDED).wait_reason is None

    def test_is_one_job_at_a_time(self, fleet: Fleet) -> None:
        worker = fleet.worker()
        jobs = [fleet.submit(steps=20) for _ in range(3)]
        seen: list[int] = []

        def all_done() -> bool:
            seen.append(len(worker.trainings()))
            return all(fleet.job(job).state is State.SUCCEEDED for job in jobs)

        eventually(all_done, 30)
        assert max(seen) == 1

    @pytest.mark.parametrize(("play", "code"), [("oom", "out_of_memory"), ("crash", "child_crashed")])
    def test_that_fails_is_told_and_the_next_is_taken(self, fleet: Fleet, play: str, code: str) -> None:
        bad, good = fleet.submit(play), fleet.submit()
        fleet.worker()
        fleet.reaches(good, State.SUCCEEDED)
        error = fleet.reaches(bad, State.FAILED).error
        assert error is not None
        assert error.code == code

    def test_that_was_posted_while_the_broker_was_away_is_done(
        self, tmp_path: Path, sqlite_url: str, catalogue_file: Path
    ) -> None:
        """The ring goes to nobody, and the post is answered all the same; the worker's clock finds the job."""
        away = Fleet(tmp_path, sqlite_url, f"redis+socket://{tmp_path}/none?virtual_host=0", catalogue_file)
        try:
            job = away.submit()
            away.worker()
            away.reaches(job, State.SUCCEEDED)
        finally:
            away.close()

    def test_that_kills_every_child_ends_failed_with_its_history_and_waits_longer_each_time(self, fleet: Fleet) -> None:
        poison, good = fleet.submit("crash"), fleet.submit()
        fleet.worker(backoff_seconds=0.4, attempt_limit=3)
        fleet.reaches(good, State.SUCCEEDED)
        done = fleet.reaches(poison, State.FAILED)
        assert [(attempt.fence, attempt.cause) for attempt in done.attempts] == [
            (fence, "child_crashed") for fence in (1, 2, 3)
        ]
        assert done.error is not None
        assert (done.error.code, done.failures) == ("child_crashed", 3)
        begun, back = (fleet.events(poison, f"job.{word}") for word in ("started", "requeued"))
        waits = [
            (again.created_at - left.created_at).total_seconds() for left, again in zip(back, begun[1:], strict=True)
        ]
        assert waits[0] >= 0.4
        assert waits[1] >= 0.8
        assert fleet.events(poison, "job.failed")[0].data["code"] == "child_crashed"

    def test_that_is_cancelled_frees_the_worker_for_the_next(self, fleet: Fleet) -> None:
        fleet.worker(poll_seconds=NEVER).is_ready()
        long, next_one = fleet.submit(steps=10_000), fleet.submit()
        fleet.trains(long)
        fleet.jobs.cancel(LOCAL, long)
        fleet.reaches(long, State.CANCELLED)
        fleet.reaches(next_one, State.SUCCEEDED)


class TestReadiness:
    """Proof of consumption: a look for work a moment ago, or a sign of life of the attempt that runs."""

    def test_is_told_once_it_has_looked_for_work_with_or_without_a_broker(self, fleet: Fleet, tmp_path: Path) -> None:
        port = free_port()
        fleet.worker(broker_url=f"redis+socket://{tmp_path}/none?virtual_host=0", worker_health_port=port)
        eventually(lambda: ready(port), 30)

    def test_a_process_that_lives_and_finds_no_database_is_not_ready(self, fleet: Fleet, tmp_path: Path) -> None:
        port = free_port()
        (tmp_path / "folder").mkdir()
        fleet.worker(database_url=f"sqlite:///{tmp_path}/folder", worker_health_port=port)
        eventually(lambda: asked(port) is not None, 30)
        assert asked(port) == HTTPStatus.SERVICE_UNAVAILABLE

    def test_a_busy_worker_is_ready_by_its_attempts_signs_of_life_and_not_while_it_stops(self, fleet: Fleet) -> None:
        """It polls every 50 ms, so it may be quiet for 0.53 s: a job that takes longer is no silence."""
        port = free_port()
        worker = fleet.worker(poll_seconds=0.05, worker_health_port=port)
        job = fleet.submit(steps=150)
        fleet.trains(job, 100)
        assert eventually(lambda: ready(port))
        worker.process.send_signal(signal.SIGTERM)
        eventually(lambda: asked(port) != HTTPStatus.OK)
        assert worker.process.wait(30) == 0

    def test_a_frozen_worker_answers_nobody(self, fleet: Fleet) -> None:
        port = free_port()
        worker = fleet.worker(worker_health_port=port)
        eventually(lambda: ready(port), 30)
        psutil.Process(worker.process.pid).suspend()
        assert asked(port, patience=0.2) is None

    def test_a_taken_port_is_a_sentence(self, fleet: Fleet) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            worker = fleet.worker(worker_health_port=taken.getsockname()[1])
            assert worker.process.wait(30) != 0
        assert worker.has_said("set STROP_WORKER_HEALTH_PORT to a free port")


def asked(port: int, patience: float = 5) -> int | None:
    """The status of /readyz; None where nobody answers."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=patience).status_code
    except httpx.TransportError:
        return None


def ready(port: int) -> bool:
    return asked(port) == HTTPStatus.OK


class TestEnd:
    def test_by_sigterm_while_idle_is_prompt(self, fleet: Fleet) -> None:
        worker = fleet.worker().is_ready()
        assert worker.terminate(10) == 0

    @pytest.mark.parametrize(
        "broker", ["there", "away"], ids=["run by the queue's thread", "run by the clock's thread"]
    )
    def test_by_sigterm_hands_the_job_on_with_no_step_lost(self, fleet: Fleet, broker: str, tmp_path: Path) -> None:
        away = f"redis+socket://{tmp_path}/none?virtual_host=0"
        given: dict[str, object] = {"poll_seconds": NEVER} if broker == "there" else {"broker_url": away}
        first = fleet.worker(lease_seconds=UNHURRIED, **given)
        if broker == "there":
            first.is_ready()
        job = fleet.submit(steps=150, checkpoint_every=10_000)
        fleet.trains(job, 3)
        assert first.terminate() == 0
        handed_back = fleet.job(job)
        assert (handed_back.state, handed_back.attempts[0].cause) == (State.QUEUED, "handed_back")
        fleet.worker(lease_seconds=UNHURRIED)
        done = fleet.reaches(job, State.SUCCEEDED)
        assert [attempt.cause for attempt in done.attempts] == ["handed_back", "succeeded"]
        assert [event.step for event in fleet.events(job, "job.step")] == list(range(1, 151))

    def test_by_sigterm_rings_for_an_idle_worker_which_takes_over_at_once(self, fleet: Fleet) -> None:
        """Neither looks by the clock: the second can only have heard the first one's ring."""
        workers = [fleet.worker(poll_seconds=NEVER, lease_seconds=UNHURRIED).is_ready() for _ in range(2)]
        job = fleet.submit(steps=150, checkpoint_every=10_000)
        fleet.trains(job, 3)
        (busy,) = (worker for worker in workers if worker.children())
        assert busy.terminate() == 0
        done = fleet.reaches(job, State.SUCCEEDED)
        assert [attempt.cause for attempt in done.attempts] == ["handed_back", "succeeded"]
        handed_back, taken = done.attempts
        assert handed_back.ended_at is not None
        assert (taken.started_at - handed_back.ended_at).total_seconds() < 5

    def test_by_sigterm_hands_on_the_job_of_a_child_that_hangs(self, fleet: Fleet) -> None:
        worker = fleet.worker(lease_seconds=UNHURRIED)
        job = fleet.submit("numb")
        eventually(lambda: fleet.events(job, "job.ready"), 30)
        assert worker.terminate(30) == 0
        handed_back = fleet.job(job)
        assert (handed_back.state, handed_back.attempts[0].cause) == (State.QUEUED, "handed_back")

    def test_by_sigkill_takes_the_child_along(self, fleet: Fleet) -> None:
        worker = fleet.worker()
        fleet.trains(fleet.submit(steps=10_000))
        (child,) = worker.children()
        worker.kill()
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 2)

    def test_by_sigkill_costs_no_more_than_the_steps_since_the_last_checkpoint(self, fleet: Fleet) -> None:
        first = fleet.worker()
        job = fleet.submit(steps=100, checkpoint_every=5)
        fleet.trains(job, 12)
        first.kill()
        fleet.worker()
        done = fleet.reaches(job, State.SUCCEEDED)
        assert [attempt.cause for attempt in done.attempts] == ["lease_lost", "succeeded"]
        (resumed,) = fleet.events(job, "job.resumed")
        assert resumed.data["step"] >= 10
        assert len(fleet.artifacts(job, Kind.MANIFEST)) == 1

    def test_of_a_worker_that_was_stopped_for_long_leaves_the_new_owner_alone(self, fleet: Fleet) -> None:
        first = fleet.worker()
        job = fleet.submit(steps=200)
        fleet.trains(job)
        frozen = fleet.freeze(first)
        fleet.worker()
        eventually(lambda: fleet.job(job).fence == 2, 60)
        frozen.resume()
        fleet.reaches(job, State.SUCCEEDED)
        eventually(lambda: first.has_said("no longer owns the job"))
        after = [event.fence for event in fleet.events(job, "job.step")]
        assert after == sorted(after), "no event of the first attempt after the second began"
