"""Watch: everything in order and up to the end; and a client that goes away leaves nothing behind."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import text
from strop.v1 import jobs_pb2

from service.domain.jobs import Job, JobError
from service.rpc import jobs
from tests.eventually import eventually
from tests.service.rpc.calls import Collected, Rpc, Serving, details_of, key_of, refused
from tests.service.world import World

CROWD = 50


@pytest.fixture
def rpc(serving: Serving) -> Rpc:
    return serving.rpc


def step(world: World, job: Job, number: int) -> None:
    world.attempts.record(job.id, job.fence, number, "job.step", {"reward": number / 2})


def fail(world: World, job: Job) -> None:
    error = JobError("out_of_memory", "Lower the batch.")
    world.attempts.fail(job.id, job.fence, error, cause="out_of_memory", retry=False)


class TestAWatch:
    def test_tells_the_job_first_then_all_events_and_ends_with_its_end(self, rpc: Rpc, world: World) -> None:
        job = world.post()
        watch = Collected(rpc.watch(job.id))
        eventually(lambda: watch.updates)
        assert watch.updates[0].job.id == job.id
        job = world.claim_of(job).job
        for number in range(1, 4):
            step(world, job, number)
            eventually(lambda number=number: [e for e in watch.events if e.step == number])  # type: ignore[misc]
        fail(world, job)
        watch.end()
        assert watch.error is None
        assert [event.number for event in watch.events] == list(range(1, world.get(job).event_count + 1))
        assert [event.type for event in watch.events] == world.types(job)
        assert watch.states == ["queued", "running", "failed"]
        assert watch.updates[-1].job.error.code == "out_of_memory"
        assert [event.data["reward"] for event in watch.events if event.type == "job.step"] == [0.5, 1.0, 1.5]

    def test_tells_the_job_after_the_events_that_changed_it(self, rpc: Rpc, world: World) -> None:
        job = world.run()
        watch = Collected(rpc.watch(job.id, after=job.event_count))
        eventually(lambda: watch.updates)
        step(world, job, 1)
        eventually(lambda: len(watch.updates) >= 3)
        assert [update.WhichOneof("update") for update in watch.updates] == ["job", "event", "job"]
        watch.call.cancel()

    def test_of_a_job_that_has_ended_tells_it_whole_and_ends(self, rpc: Rpc, world: World) -> None:
        job = world.run()
        for number in range(150):  # more than a page
            step(world, job, number)
        fail(world, job)
        watch = Collected(rpc.watch(job.id)).end()
        assert [event.number for event in watch.events] == list(range(1, world.get(job).event_count + 1))
        assert [update.WhichOneof("update") for update in (watch.updates[0], watch.updates[-1])] == ["job", "job"]

    def test_goes_on_after_the_event_it_is_told(self, rpc: Rpc, world: World) -> None:
        job = world.run()
        fail(world, job)
        count = world.get(job).event_count
        assert [event.number for event in Collected(rpc.watch(job.id, after=count - 1)).end().events] == [count]
        assert len(Collected(rpc.watch(job.id, after=count)).end().updates) == 1  # the job, first and last
        for after in (2**31 - 1, 2**31, 2**62):
            assert len(Collected(rpc.watch(job.id, after=after)).end().updates) == 1

    def test_misses_nothing_of_a_job_that_changes_fast(self, rpc: Rpc, world: World) -> None:
        job = world.run()
        watches = [Collected(rpc.watch(job.id)) for _ in range(4)]
        for number in range(60):
            step(world, job, number)
        fail(world, job)
        for watch in watches:
            assert [event.number for event in watch.end().events] == list(range(1, world.get(job).event_count + 1))

    def test_hears_nothing_of_other_jobs(self, rpc: Rpc, world: World) -> None:
        job, other = world.run(), world.run()
        watch = Collected(rpc.watch(job.id))
        fail(world, other)
        fail(world, job)
        assert {update.job.id for update in watch.end().updates if update.HasField("job")} == {job.id}

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_goes_on_when_the_database_cut_the_notifiers_connection(self, rpc: Rpc, world: World) -> None:
        job = world.run()
        watch = Collected(rpc.watch(job.id))
        listening = "FROM pg_stat_activity WHERE application_name = 'strop notifier'"
        eventually(lambda: world.sql(f"SELECT 1 {listening}"))
        eventually(lambda: watch.updates)
        world.sql(f"SELECT pg_terminate_backend(pid) {listening}")
        fail(world, job)
        assert watch.end().states[-1] == "failed"


class TestAClientThatGoesAway:
    def test_leaves_no_subscription_no_thread_and_no_connection(self, serving: Serving, world: World) -> None:
        job = world.run()
        threads = threading.active_count()
        channels = [
            grpc.insecure_channel(serving.address, (("grpc.use_local_subchannel_pool", 1),)) for _ in range(CROWD)
        ]
        watches = [Collected(Rpc(channel).watch(job.id)) for channel in channels]
        eventually(lambda: all(watch.updates for watch in watches), 30)
        eventually(lambda: serving.notifier.subscriptions == CROWD)
        self.assert_no_connection_is_held(world)
        assert (
            threading.active_count() <= threads + 2 * CROWD + SHARED
        )  # the clients' two each, and the gateway's shared
        for channel in channels:
            channel.close()
        for watch in watches:
            watch.end()
        eventually(lambda: serving.notifier.subscriptions == 0)
        eventually(lambda: threading.active_count() <= threads + SHARED)
        self.assert_no_connection_is_held(world)
        fail(world, job)  # nobody is there to hear it
        assert Collected(serving.rpc.watch(job.id)).end().states == ["failed"]

    def test_while_it_is_being_told_leaves_nothing_either(
        self, serving: Serving, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = world.run()
        for number in range(300):
            step(world, job, number)
        channel = grpc.insecure_channel(serving.address, (("grpc.use_local_subchannel_pool", 1),))
        calls = [Rpc(channel).watch(job.id) for _ in range(10)]
        for call in calls:
            next(call)
        channel.close()
        eventually(lambda: serving.notifier.subscriptions == 0)
        self.assert_no_connection_is_held(world)
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []

    def test_gives_its_place_to_the_next(self, serving: Serving, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jobs, "MAX_WATCHES", 2)
        job = world.run()
        watches = [Collected(serving.rpc.watch(job.id)) for _ in range(2)]
        eventually(lambda: all(watch.updates for watch in watches))
        full = refused(serving.rpc.jobs.Watch, jobs_pb2.JobsWatchRequest(id=job.id), key_of())
        assert (full.code, full.problem["code"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many_watches")
        assert full.retry is not None
        watches[0].call.cancel()
        eventually(lambda: serving.notifier.subscriptions == 1)
        third = Collected(serving.rpc.watch(job.id))
        eventually(lambda: third.updates)

    @staticmethod
    def assert_no_connection_is_held(world: World) -> None:
        eventually(lambda: world.database.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
        if world.on_postgresql:
            mine = "datname = current_database() AND pid <> pg_backend_pid()"
            assert world.sql(f"SELECT count(*) FROM pg_stat_activity WHERE {mine} AND state <> 'idle'") == [(0,)]


SHARED = 16
"""Threads that the event loop keeps for all, however many watch."""


class TestStopping:
    def test_ends_watches_with_unavailable_so_that_clients_come_again(self, serving: Serving, world: World) -> None:
        watch = Collected(serving.rpc.watch(world.run().id))
        eventually(lambda: watch.updates)
        serving.stop()
        told = details_of(watch.end().error)
        assert (told.code, told.problem["code"]) == (grpc.StatusCode.UNAVAILABLE, "unavailable")
        assert told.retry is not None
        assert told.retry.retry_delay.seconds == 1

    def test_lets_running_calls_end(self, serving: Serving, world: World) -> None:
        health = health_pb2_grpc.HealthStub(serving.rpc.channel)
        changes = health.Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(changes).status == health_pb2.HealthCheckResponse.SERVING
        with ThreadPoolExecutor(2) as threads:
            with world.database.write() as unit:
                if world.on_postgresql:
                    unit.jobs._connection.execute(text("LOCK TABLE jobs"))
                created = threads.submit(serving.rpc.create)
                eventually(lambda: world.database.engine.pool.checkedout() == 2)  # type: ignore[attr-defined]
                stopped = threads.submit(serving.stop)
                assert next(changes).status == health_pb2.HealthCheckResponse.NOT_SERVING
                changes.cancel()
            assert created.result(20).state == jobs_pb2.JOB_STATE_QUEUED
            stopped.result(20)
        with pytest.raises(grpc.RpcError) as error:
            serving.rpc.get("job_1")
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
