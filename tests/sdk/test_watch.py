"""A watch that is cut goes on where it stood: no event missed, none twice, and it ends when the job has."""

import threading
import time

import grpc
import pytest
import strop
from strop.v1 import jobs_pb2

from tests.sdk.servers import Behaviour, Rpc, of_event, of_job, refuse, rpc_server, stream

DONE = jobs_pb2.JOB_STATE_SUCCEEDED


def watched(rpc: Rpc, after: int = 0) -> list[object]:
    """Numbers of events, states of jobs."""
    with strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client:
        updates = list(client.jobs.watch("job_1", after))
    return [each.number if isinstance(each, strop.Event) else str(each.state) for each in updates]


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN]
)
def test_goes_on_from_the_last_event(code: grpc.StatusCode) -> None:
    first = stream(of_job(step=1), of_event(1), of_event(2), then=code)
    rest = stream(of_job(step=1), of_event(2), of_event(3), of_job(DONE, 9))
    with rpc_server(Watch=[first, refuse(grpc.StatusCode.UNAVAILABLE), rest]) as rpc:
        assert watched(rpc) == ["running", 1, 2, 3, "succeeded"]
        assert [request.after for request in rpc.requests] == [0, 2, 2]


def test_a_stream_that_ends_before_the_job_is_a_cut_too() -> None:
    with rpc_server(Watch=[stream(of_job(), of_event(1)), stream(of_job(DONE))]) as rpc:
        assert watched(rpc) == ["running", 1, "succeeded"]


def test_events_after_the_jobs_last_state_are_not_lost() -> None:
    cut = stream(of_job(DONE), of_event(1), then=grpc.StatusCode.UNAVAILABLE)
    with rpc_server(Watch=[cut, stream(of_job(DONE), of_event(2), of_job(DONE))]) as rpc:
        assert watched(rpc) == ["succeeded", 1, 2]


def test_begins_after_the_event_that_the_caller_names() -> None:
    with rpc_server(Watch=[stream(of_job(DONE), of_event(8), of_job(DONE))]) as rpc:
        assert watched(rpc, after=7) == ["succeeded", 8]
        assert rpc.requests[0].after == 7


def test_a_state_and_an_update_of_the_future_do_no_harm() -> None:
    odd = [of_job(state=77), jobs_pb2.JobsWatchResponse(), of_event(1)]
    with rpc_server(Watch=[stream(*odd)]) as rpc:
        assert watched(rpc) == ["unknown", 1]


def test_a_refusal_ends_it() -> None:
    with rpc_server(Watch=[refuse(grpc.StatusCode.NOT_FOUND, "no such job")]) as rpc:
        with pytest.raises(strop.NotFound, match="no such job"):
            watched(rpc)
        assert len(rpc.requests) == 1


def test_who_stops_listening_ends_the_call() -> None:
    ended = threading.Event()

    def endless(request: object, context: grpc.ServicerContext) -> object:
        context.add_callback(ended.set)
        yield of_job()
        ended.wait(10)

    with rpc_server(Watch=[endless]) as rpc, strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client:
        updates = client.jobs.watch("job_1")
        next(updates)
        updates.close()  # type: ignore[attr-defined]
        assert ended.wait(5)


class TestWait:
    def of(self, *behaviours: Behaviour, timeout: float | None = None) -> strop.Job:
        with rpc_server(Watch=list(behaviours)) as rpc, strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client:
            return client.jobs.wait("job_1", timeout)

    def test_returns_the_job_that_has_succeeded(self) -> None:
        assert self.of(stream(of_job(), of_job(DONE, 9))).progress.step == 9

    def test_raises_what_the_job_failed_with(self) -> None:
        error = jobs_pb2.JobError(code="nan_loss", message="the loss is not a number")
        with pytest.raises(strop.JobFailed, match="not a number") as caught:
            self.of(stream(of_job(jobs_pb2.JOB_STATE_FAILED, error=error)))
        assert (caught.value.code, caught.value.job.id) == ("nan_loss", "job_1")

    def test_raises_that_the_job_was_cancelled(self) -> None:
        with pytest.raises(strop.JobCancelled):
            self.of(stream(of_job(jobs_pb2.JOB_STATE_CANCELLED)))

    def test_raises_timeout_when_the_time_is_over(self) -> None:
        until = threading.Event()

        def endless(request: object, context: grpc.ServicerContext) -> object:
            context.add_callback(until.set)
            yield of_job()
            until.wait(10)

        start = time.monotonic()
        with pytest.raises(TimeoutError, match="job_1 is running"):
            self.of(endless, timeout=2)
        assert time.monotonic() - start < 8
