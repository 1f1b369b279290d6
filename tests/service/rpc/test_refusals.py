"""Bad input: what REST refuses is refused here with the same code, place and remedy (tests/service/refusals.py)."""

import logging
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from strop.v1 import jobs_pb2

from service.domain.errors import InvalidRequest
from service.domain.recipes import JobRequest
from service.operations.attempts import Attempts
from service.rpc import messages
from service.wire.bodies import parse
from service.wire.guard import MAX_BODY
from tests.service.refusals import FINISHED, NO_JOB, REFUSALS, USED, Refusal
from tests.service.rest.calls import GOOD, Gateway, asked
from tests.service.rpc.calls import Inexpressible, Rpc, key_of, refused

CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
}
EXPRESSIBLE = {name: refusal for name, refusal in REFUSALS.items() if not refusal.not_grpc}
OTHERS = {name: refusal for name, refusal in REFUSALS.items() if refusal.not_grpc}


@pytest.mark.parametrize("refusal", EXPRESSIBLE.values(), ids=EXPRESSIBLE)
def test_whatever_every_face_refuses(gateway: Gateway, attempts: Attempts, rpc: Rpc, refusal: Refusal) -> None:
    by_rest = asked(gateway, attempts, refusal).json()
    given = dict(refusal.given)
    if given.get("id") == FINISHED:
        given["id"] = gateway.failed_job(attempts)
    if refusal.idempotency_key == USED:
        rpc.create(idempotency_key=USED + "-by-grpc")
        refusal = Refusal(**{**vars(refusal), "idempotency_key": USED + "-by-grpc"})
    before = gateway.job_count()
    answer = rpc.ask(refusal, given)
    assert gateway.job_count() == before
    assert answer.code is CODES[refusal.status]
    assert (answer.reason.reason, answer.reason.domain) == (refusal.code, "strop")
    assert answer.violations.keys() == {each["path"] for each in by_rest["errors"]}
    if refusal.path:
        assert refusal.remedy in answer.violations[refusal.path]
    assert answer.metadata["x-request-id"] == answer.problem["request_id"]
    if refusal.status != 413:  # the sentence names the body there, the message here
        assert {**answer.problem, "request_id": ""} == {**by_rest, "request_id": ""}


@pytest.mark.parametrize("refusal", OTHERS.values(), ids=OTHERS)
def test_what_no_message_can_say(gateway: Gateway, rpc: Rpc, refusal: Refusal) -> None:
    with pytest.raises(Inexpressible):
        rpc.ask(refusal, refusal.given)


def raw(rpc: Rpc, method: str, request: bytes, **metadata: str) -> Any:
    call = rpc.channel.unary_unary(f"/strop.v1.{method}")
    return refused(call, request, (*key_of(), *((name.replace("_", "-"), value) for name, value in metadata.items())))


class TestMessages:
    def test_that_are_none_are_refused(self, rpc: Rpc) -> None:
        answer = raw(rpc, "Jobs/Create", b"\xff\xff not a message")
        assert (answer.code, answer.problem["code"]) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_message")

    def test_with_a_field_that_the_server_does_not_know_are_refused(self, rpc: Rpc) -> None:
        """A newer client's option must not be left out without a word: it may cost hours of training."""
        known = jobs_pb2.JobsCreateRequest(base_model="shapes", lora=jobs_pb2.Lora(rank=4)).SerializeToString()
        answer = raw(
            rpc, "Jobs/Create", known + b"\xf8\x07\x01" + b"\x32\x03\xf8\x07\x01"
        )  # field 127, here and in lora
        assert answer.violations.keys() == {"127", "lora.127"}

    def test_beyond_what_the_transport_takes_are_refused(self, rpc: Rpc) -> None:
        call = rpc.channel.unary_unary("/strop.v1.Jobs/Create")
        with pytest.raises(grpc.RpcError) as error:
            call(b"x" * (2 * MAX_BODY + 1), metadata=key_of())
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_wrong_in_more_places_than_the_trailers_hold_name_the_first(self, rpc: Rpc) -> None:
        method = Struct()
        method.update({"type": "sharpening-rlhf", **{f"{'☃' * 300}{n}": n for n in range(500)}})
        request = jobs_pb2.JobsCreateRequest(base_model="shapes", prompts=["x" * 2001] * 3_000, method=method)
        request.reward.update(GOOD["reward"])
        answer = refused(rpc.jobs.Create, request, key_of())
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(InvalidRequest) as whole:
            parse(JobRequest, messages.canonical(messages.json_of(request)))
        named = [each["path"] for each in answer.problem["errors"]]
        assert named[0] == "prompts.0"
        assert named == [each.path for each in whole.value.errors[: len(named)]]
        assert answer.problem["detail"].startswith("prompts.0: ")
        assert answer.problem["detail"].endswith("(and 3500 more)")  # and that no prompt is left

    def test_of_emoji_fit_the_trailers_too(self, rpc: Rpc) -> None:
        assert (
            raw(rpc, "Jobs/Get", jobs_pb2.JobsGetRequest(id="🟥" * 99).SerializeToString()).problem["code"]
            == "not_found"
        )


class TestRequestIds:
    def test_of_the_caller_are_kept(self, rpc: Rpc) -> None:
        answer = raw(rpc, "Jobs/Get", jobs_pb2.JobsGetRequest(id=NO_JOB).SerializeToString(), x_request_id="mine-7")
        assert (answer.problem["request_id"], answer.metadata["x-request-id"]) == ("mine-7", "mine-7")

    def test_that_do_not_fit_are_replaced(self, rpc: Rpc) -> None:
        answer = raw(rpc, "Jobs/Get", b"", x_request_id="a b")
        assert answer.problem["request_id"].startswith("req_")

    def test_stand_on_answers_too(self, rpc: Rpc) -> None:
        _, call = rpc.jobs.List.with_call(jobs_pb2.JobsListRequest(), metadata=(*key_of(), ("x-request-id", "mine")))
        assert dict(call.trailing_metadata())["x-request-id"] == "mine"


def test_a_fault_of_ours_is_told_to_the_log_only(
    rpc: Rpc, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("service.operations.jobs.Jobs.get", broken)
    with caplog.at_level(logging.ERROR):
        for call, request in ((rpc.jobs.Get, jobs_pb2.JobsGetRequest), (rpc.jobs.Watch, jobs_pb2.JobsWatchRequest)):
            answer = refused(call, request(id=NO_JOB), key_of())
            assert (answer.code, answer.problem["code"]) == (grpc.StatusCode.INTERNAL, "internal_error")
            assert "hunter2" not in str(answer)
            assert answer.problem["request_id"] in [getattr(record, "request_id", "") for record in caplog.records]
