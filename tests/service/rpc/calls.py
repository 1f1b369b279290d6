"""What these tests say to the gRPC face, in their own words."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from strop.v1 import jobs_pb2, jobs_pb2_grpc, models_pb2, models_pb2_grpc, problems_pb2, rewards_pb2_grpc

from service.adapters.db import JobNotifier
from service.rpc import messages
from tests.service.refusals import Refusal
from tests.service.rest.calls import GOOD
from tests.service.running import KEY

SECONDS = 20


class Inexpressible(Exception):
    """The proto has no place for what the JSON says."""


class Refused(NamedTuple):
    """A refusal's code and details, by their kinds; `problem` as the REST face's JSON has it."""

    code: grpc.StatusCode
    message: str
    problem: dict[str, Any]
    reason: error_details_pb2.ErrorInfo
    violations: dict[str, str]
    retry: error_details_pb2.RetryInfo | None
    metadata: dict[str, Any]


class Rpc:
    """The three services of one server."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.jobs = jobs_pb2_grpc.JobsStub(channel)  # type: ignore[no-untyped-call]
        self.models = models_pb2_grpc.ModelsStub(channel)  # type: ignore[no-untyped-call]
        self.rewards = rewards_pb2_grpc.RewardsStub(channel)  # type: ignore[no-untyped-call]

    def create(self, change: dict[str, Any] | None = None, **given: Any) -> jobs_pb2.Job:
        body = {name: value for name, value in {**GOOD, **(change or {})}.items() if value is not ...}
        request = message_of(body, jobs_pb2.JobsCreateRequest())
        request.MergeFrom(jobs_pb2.JobsCreateRequest(**given))
        return self.jobs.Create(request, metadata=key_of(), timeout=SECONDS).job

    def get(self, job: str) -> jobs_pb2.Job:
        return self.jobs.Get(jobs_pb2.JobsGetRequest(id=job), metadata=key_of(), timeout=SECONDS).job

    def watch(self, job: str, after: int | None = None) -> Any:
        return self.jobs.Watch(jobs_pb2.JobsWatchRequest(id=job, after=after), metadata=key_of(), timeout=SECONDS)

    def ask(self, refusal: Refusal, given: dict[str, Any]) -> Refused:
        """What a row of the table is answered. Raises Inexpressible."""
        metadata = key_of(refusal.key)
        match refusal.verb:
            case "create":
                body = {name: value for name, value in {**GOOD, **given}.items() if value is not ...}
                request = message_of(body, jobs_pb2.JobsCreateRequest())
                if refusal.idempotency_key is not None:
                    request.idempotency_key = refusal.idempotency_key
                call, asked = self.jobs.Create, request
            case "get" | "cancel" | "pause" | "resume" | "retry":
                name = refusal.verb.capitalize()
                call, asked = getattr(self.jobs, name), getattr(jobs_pb2, f"Jobs{name}Request")(**given)
            case "clone":
                call, asked = self.jobs.Clone, jobs_pb2.JobsCloneRequest(id=given.pop("id"))
                asked.overrides.update(given)
            case "certificate":
                call, asked = self.jobs.Certificate, message_of(given, jobs_pb2.JobsCertificateRequest())
            case "follow":
                call, asked = self.jobs.Watch, jobs_pb2.JobsWatchRequest(**given)
            case "list":
                state = given.pop("state", None)
                call, asked = self.jobs.List, jobs_pb2.JobsListRequest(**given, state=99 if state else 0)
            case "alias":
                whole = {name: value for name, value in given.items() if value is not ...}
                call, asked = self.models.SetAlias, message_of(whole, models_pb2.ModelsSetAliasRequest())
            case "delete_alias":
                call, asked = self.models.DeleteAlias, models_pb2.ModelsDeleteAliasRequest(**given)
            case "delete_model":
                call, asked = self.models.Delete, models_pb2.ModelsDeleteRequest(**given)
            case "model":
                call, asked = self.models.Get, models_pb2.ModelsGetRequest(**given)
            case verb:
                raise AssertionError(verb)
        return refused(call, asked, metadata)


@dataclass
class Serving:
    """The face by itself, its notifier at hand. `stop` ends both as the gateway would."""

    address: str
    notifier: JobNotifier
    rpc: Rpc
    stop: Callable[[], None]


def key_of(key: str | None = KEY) -> tuple[tuple[str, str], ...]:
    return () if key is None else (("authorization", f"Bearer {key}"),)


def refused(call: Any, request: Any, metadata: Any) -> Refused:
    try:
        answer = call(request, metadata=metadata, timeout=SECONDS)
        if isinstance(answer, Iterator):
            list(answer)
    except grpc.RpcError as error:
        return details_of(error)
    raise AssertionError(f"it was not refused: {answer}")


def details_of(error: Any) -> Refused:
    status = rpc_status.from_call(error)
    assert status is not None, error
    found: dict[str, Any] = {}
    for detail in status.details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
            problems_pb2.Problem,
        ):
            message = kind()
            if detail.Unpack(message):
                found[kind.DESCRIPTOR.name] = message
    problem = MessageToDict(
        found["Problem"], preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    violations = found["BadRequest"].field_violations if "BadRequest" in found else ()
    return Refused(
        error.code(),
        error.details(),
        {**problem, "status": int(problem["status"])},
        found["ErrorInfo"],
        {each.field: each.description for each in violations},
        found.get("RetryInfo"),
        dict(error.trailing_metadata()),
    )


def message_of(body: dict[str, Any], message: Message) -> Any:
    """Raises Inexpressible unless the message says exactly what the JSON does."""
    structs = {name: value for name, value in body.items() if name in ("reward", "method")}
    try:
        ParseDict({name: value for name, value in body.items() if name not in structs}, message)
        for name, value in structs.items():
            getattr(message, name).update(value)
    except (ParseError, ValueError, TypeError, AttributeError) as error:
        raise Inexpressible(str(error)) from error
    if json.dumps(messages.json_of(message), sort_keys=True) != json.dumps(body, sort_keys=True):
        raise Inexpressible("the message says something else")
    return message


class Collected:
    """A stream read by a thread, as a client would: `updates` grow while it runs."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.updates: list[jobs_pb2.JobsWatchResponse] = []
        self.error: Any = None
        self._pool = ThreadPoolExecutor(1)
        self._done = self._pool.submit(self._read)
        self._pool.shutdown(wait=False)

    def _read(self) -> None:
        try:
            for update in self.call:
                self.updates.append(update)
        except grpc.RpcError as error:
            self.error = error

    def end(self) -> "Collected":
        """Wait for the stream's end."""
        self._done.result(SECONDS)
        return self

    @property
    def events(self) -> list[jobs_pb2.Event]:
        return [update.event for update in self.updates if update.HasField("event")]

    @property
    def states(self) -> list[str]:
        """Of each job told, repetitions left out."""
        told = [messages.state_of(update.job.state) for update in self.updates if update.HasField("job")]
        return [state for place, state in enumerate(told) if place == 0 or told[place - 1] != state]
