"""What passes by itself is tried again, a bounded number of times, and only where sending twice does no harm."""

from pathlib import Path

import grpc
import pytest
import strop
from google.rpc import error_details_pb2, status_pb2
from strop.errors import InvalidRequest, RateLimited, Unavailable
from strop.retrying import Retries
from strop.v1 import jobs_pb2
from strop.v1.problems_pb2 import Problem

from tests.sdk.servers import Reply, answer, http_server, job, refuse, rpc_server
from tests.servers.processes import free_port

GOT = jobs_pb2.JobsGetResponse(job=job())
PICTURES = "/v1/images/generations"
DRAWN = Reply(
    body={"data": [{"b64_json": "", "seed": 7}], "model": "shapes", "usage": {"nfe_per_image": 20.0}, "warnings": []}
)


class TestTheWait:
    def test_grows_from_try_to_try_up_to_a_bound(self) -> None:
        waits = [Retries(9, 1.0, 8.0).wait(failed, Unavailable()) or 0 for failed in range(1, 8)]
        for wait, longest in zip(waits, (1, 2, 4, 8, 8, 8, 8), strict=True):
            assert longest / 2 <= wait <= longest

    def test_is_at_least_what_the_service_asks_for(self) -> None:
        assert Retries(first_wait=0.1).wait(1, RateLimited(retry_after=7)) == 7

    def test_is_not_for_ever(self) -> None:
        assert Retries(longest_asked=60).wait(1, Unavailable(retry_after=3600)) is None
        assert Retries(retries=2).wait(3, Unavailable()) is None

    def test_is_not_for_what_waiting_does_not_help(self) -> None:
        assert Retries().wait(1, InvalidRequest()) is None


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_a_call_that_fails_twice_is_answered(code: grpc.StatusCode) -> None:
    with rpc_server(Get=[refuse(code), refuse(code), answer(GOT)]) as rpc:
        with strop.Client(grpc_url=f"127.0.0.1:{rpc.port}", api_key="secret") as client:
            assert client.jobs.get("job_1").id == "job_1"
        assert len(rpc.requests) == 3
        assert all(each["authorization"] == "Bearer secret" for each in rpc.metadata)


def test_a_create_is_sent_again_under_the_same_key_and_the_next_one_under_another() -> None:
    made = jobs_pb2.JobsCreateResponse(job=job())
    with rpc_server(Create=[refuse(grpc.StatusCode.UNAVAILABLE), answer(made)]) as rpc:
        with strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client:
            client.jobs.create(base_model="shapes")
            client.jobs.create(base_model="shapes")
            client.jobs.create(base_model="shapes", idempotency_key="mine")
        keys = [each["idempotency-key"] for each in rpc.metadata]
        assert keys[0] == keys[1] != keys[2]
        assert keys[3] == "mine"


@pytest.mark.parametrize(
    ("verb", "method"),
    [("Cancel", "cancel"), ("Pause", "pause"), ("Resume", "resume"), ("Retry", "retry"), ("Clone", "clone"), ("Certificate", "certificate")],
)  # fmt: skip
def test_every_verb_is_sent_again_under_its_key_when_the_connection_was_lost(verb: str, method: str) -> None:
    made = getattr(jobs_pb2, f"Jobs{verb}Response")(job=job())
    lost = [refuse(code) for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)]
    with rpc_server(**{verb: [*lost, answer(made)]}) as rpc:
        with strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client:
            getattr(client.jobs, method)("job_1")
            getattr(client.jobs, method)("job_1", idempotency_key="mine")
        keys = [each["idempotency-key"] for each in rpc.metadata]
        assert keys[0] == keys[1] == keys[2] != keys[3] == "mine"


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "ümlaut"])
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(key: str) -> None:
    with rpc_server() as rpc, strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client:
        with pytest.raises(strop.InvalidRequest) as refused:
            client.jobs.cancel("job_1", idempotency_key=key)
        assert (refused.value.code, rpc.requests) == ("invalid_idempotency_key", [])


@pytest.mark.parametrize("lost", [Reply(body=None), Reply(502), Reply(503)])
def test_an_upload_is_sent_again_under_its_key_whatever_cut_it(lost: Reply, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a red circle")
    stored = Reply(body={"id": "file_1", "filename": "p.txt", "kind": "text", "bytes": 12, "sha256": "0"})
    with http_server({"/files": [lost, stored]}) as http:
        with strop.Client(http.url) as client:
            assert client.files.upload(tmp_path / "p.txt").id == "file_1"
        first, again = (headers["idempotency-key"] for _, headers, _ in http.requests)
        assert first == again


def test_too_many_calls_are_waited_out_as_asked() -> None:
    status = status_pb2.Status(code=8)
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(300)
    status.details.add().Pack(retry)
    status.details.add().Pack(Problem(status=429, code="queue_full", detail="full"))
    busy = refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", ("grpc-status-details-bin", status.SerializeToString()))
    with rpc_server(Get=[busy, answer(GOT)]) as rpc, strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client:
        assert client.jobs.get("job_1").id == "job_1"


def test_a_refusal_is_not_sent_again() -> None:
    with rpc_server(Get=[refuse(grpc.StatusCode.NOT_FOUND)]) as rpc:
        with strop.Client(grpc_url=f"127.0.0.1:{rpc.port}") as client, pytest.raises(strop.NotFound):
            client.jobs.get("x")
        assert len(rpc.requests) == 1


def test_the_last_error_is_raised_when_tries_are_over() -> None:
    with rpc_server(Get=[refuse(grpc.StatusCode.UNAVAILABLE, "away")]) as rpc:
        with (
            strop.Client(grpc_url=f"127.0.0.1:{rpc.port}", retries=1) as client,
            pytest.raises(strop.Unavailable, match="away"),
        ):
            client.jobs.get("x")
        assert len(rpc.requests) == 2


def test_nobody_at_the_address_is_unavailable_on_both_faces() -> None:
    port = free_port()
    with strop.Client(f"127.0.0.1:{port}", grpc_url=f"127.0.0.1:{port}", retries=1) as client:
        for call in (
            lambda: client.jobs.get("x"),
            lambda: list(client.jobs.watch("x")),
            lambda: client.artifacts.list("x"),
        ):
            with pytest.raises(strop.Unavailable, match=str(port)):
                call()


@pytest.mark.parametrize(
    "passing", [Reply(503), Reply(429, headers={"Retry-After": "0"}), Reply(502), Reply(body=None)]
)
def test_a_get_over_http_is_tried_again_whatever_cut_it(passing: Reply) -> None:
    with http_server({"/jobs/x/artifacts": [passing, passing, Reply(body={"data": []})]}) as http:
        with strop.Client(http.url) as client:
            assert client.artifacts.list("x") == []
        assert http.seen("/jobs/x/artifacts") == 3


class TestPictures:
    @pytest.mark.parametrize("status", [429, 503])
    def test_are_asked_for_again_where_the_endpoint_has_not_begun(self, status: int) -> None:
        with (
            http_server({PICTURES: [Reply(status, headers={"Retry-After": "0"}), DRAWN]}) as http,
            strop.Client(inference_url=http.url) as client,
        ):
            assert client.images.generate("shapes", "a red circle")[0].nfe == 20

    @pytest.mark.parametrize("lost", [Reply(body=None), Reply(502), Reply(500)])
    def test_are_not_asked_for_again_where_it_may_have(self, lost: Reply) -> None:
        with http_server({PICTURES: [lost, DRAWN]}) as http, strop.Client(inference_url=http.url) as client:
            with pytest.raises(strop.StropError):
                client.images.generate("shapes", "a red circle")
            assert http.seen(PICTURES) == 1

    def test_are_asked_for_again_where_nothing_was_sent(self) -> None:
        with (
            strop.Client(inference_url=f"127.0.0.1:{free_port()}", retries=1) as client,
            pytest.raises(strop.Unavailable, match="refused"),
        ):
            client.images.generate("shapes", "a red circle")
