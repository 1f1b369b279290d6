"""`client.jobs`: create, get, list, watch, wait; cancel, pause, resume, retry; clone, certificate; over gRPC.

What makes or changes something goes under a key, made for each call unless `idempotency_key` is given: its tries after a
lost connection do it once. The same key and the same request give the same job for a day, over several calls too.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Never

from strop.errors import FieldError, InvalidRequest, JobCancelled, JobFailed, RateLimited, StropError, Unavailable
from strop.messages import clone_request, create_request, plain
from strop.reading import read
from strop.records import Event, Job, State
from strop.retrying import Retries
from strop.rpc import Rpc
from strop.v1 import jobs_pb2
from strop.v1.jobs_pb2_grpc import JobsStub

RECONNECTS = Retries(retries=60, first_wait=0.2, longest_wait=5.0)
"""Between two messages of a watch: about five minutes, in which a gateway can be replaced."""
NO_VALIDATION: Final[Mapping[str, Any]] = {"every": 0}
"""What null says in JSON: a message knows a field only as there or left out."""
NO_EVENTS = 2**63 - 1
"""`after` of one who wants the job only."""


class LeftOut(Enum):
    """The default of a field of which None says something else."""

    LEFT_OUT = "left out"


class Jobs:
    """Sharpening jobs."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def create(
        self,
        *,
        base_model: str | None = None,
        prompts: Sequence[str] | None = None,
        prompts_file: str | None = None,
        images_file: str | None = None,
        start_adapter: str | None = None,
        reward: Mapping[str, Any] | None = None,
        method: Mapping[str, Any] | None = None,
        lora: Mapping[str, Any] | None = None,
        steps: int | None = None,
        seed: int | None = None,
        dtype: str | None = None,
        gradient_checkpointing: bool | None = None,
        samples: Mapping[str, Any] | None = None,
        validation: Mapping[str, Any] | LeftOut | None = LeftOut.LEFT_OUT,
        checkpoint_every: int | None = None,
        max_seconds: float | None = None,
        max_nfe: int | None = None,
        needs: Mapping[str, Any] | None = None,
        adapter_name: str | None = None,
        priority: int | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        **unknown: Never,
    ) -> Job:
        """Queue a job: the fields of `POST /jobs`, so that `create(**json.load(file))` makes the job that curl makes.

        base_model, reward, and prompts or prompts_file (or, for sharpening-sft, images_file) are needed; everything else
        has a default. None leaves a field out, with one exception: validation=None asks for none, where a method has one by
        default. Raises InvalidRequest with an entry and a remedy for each wrong field, a misspelt one too.
        """
        if isinstance(validation, LeftOut):
            validation = None
        elif validation is None:
            validation = NO_VALIDATION
        fields = {
            "base_model": base_model, "prompts": prompts, "prompts_file": prompts_file,
            "images_file": images_file, "start_adapter": start_adapter, "reward": reward,
            "method": method, "lora": lora, "steps": steps, "seed": seed, "dtype": dtype,
            "gradient_checkpointing": gradient_checkpointing, "samples": samples,
            "validation": validation, "checkpoint_every": checkpoint_every, "max_seconds": max_seconds,
            "max_nfe": max_nfe, "needs": needs, "adapter_name": adapter_name, "priority": priority, "metadata": metadata, **unknown,
        }  # fmt: skip
        return self._change("Create", create_request(fields), idempotency_key)

    def get(self, id: str) -> Job:
        """One job. Raises NotFound."""
        return _job(self._rpc.call(JobsStub, "Get", jobs_pb2.JobsGetRequest(id=id)).job)

    def list(self, state: State | str | None = None, limit: int = 20, *, kind: str | None = None) -> Iterator[Job]:
        """Jobs, newest first, of one state and one kind (sharpening, certificate) where given.

        Pages of `limit` (1 to 100) are asked for as they are needed.
        """
        wanted, cursor = _named(state), None
        while True:
            request = jobs_pb2.JobsListRequest(state=wanted, kind=kind, cursor=cursor, limit=limit)
            page = self._rpc.call(JobsStub, "List", request)
            yield from map(_job, page.data)
            if not page.has_more:
                return
            cursor = page.next_cursor

    def cancel(self, id: str, *, idempotency_key: str | None = None) -> Job:
        """Stop a job: at once where it waits, else at its next step. Raises NotFound, Conflict where it has ended."""
        return self._change("Cancel", jobs_pb2.JobsCancelRequest(id=id), idempotency_key)

    def pause(self, id: str, *, idempotency_key: str | None = None) -> Job:
        """Stop a running job at its next step, with a checkpoint. Raises NotFound, Conflict where it does not run."""
        return self._change("Pause", jobs_pb2.JobsPauseRequest(id=id), idempotency_key)

    def resume(self, id: str, *, idempotency_key: str | None = None) -> Job:
        """Queue a paused job again, from its last good checkpoint. Raises NotFound, Conflict where it is not paused."""
        return self._change("Resume", jobs_pb2.JobsResumeRequest(id=id), idempotency_key)

    def retry(self, id: str, *, idempotency_key: str | None = None) -> Job:
        """Queue a failed job again, from its last good checkpoint. Raises NotFound, Conflict where it has not failed."""
        return self._change("Retry", jobs_pb2.JobsRetryRequest(id=id), idempotency_key)

    def clone(self, id: str, overrides: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None) -> Job:
        """Queue a job of the same request. `overrides`: a JSON Merge Patch over it: None takes a field out, a mapping is
        merged, all else replaces: {"steps": 10, "method": {"candidates": 4}}. Raises NotFound, and InvalidRequest as create.
        """
        return self._change("Clone", clone_request(id, overrides or {}), idempotency_key)

    def certificate(
        self,
        id: str,
        from_step: int | None = None,
        steps: int | None = None,
        *,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a replay from a stored checkpoint (default: the last but one) to a later one (default: the next).

        It is a job of its own: wait for it, then look at its `certificate`. Raises NotFound, Conflict where fewer than two
        checkpoints are stored, and InvalidRequest where none is stored at those steps.
        """
        request = jobs_pb2.JobsCertificateRequest(id=id, from_step=from_step, steps=steps, priority=priority)
        return self._change("Certificate", request, idempotency_key)

    def watch(self, id: str, after: int = 0) -> Iterator[Job | Event]:
        """The job now and after each change, and its events in order from number `after` + 1; ends when the job has ended.

        A stream that was cut is taken up again where it stood: no event is missed, none comes twice.
        """
        yield from self._watch(id, after, None)

    def wait(self, id: str, timeout: float | None = None) -> Job:
        """The job when it has succeeded. Raises JobFailed, JobCancelled, and TimeoutError after `timeout` seconds."""
        job: Job | None = None
        for update in self._watch(id, NO_EVENTS, None if timeout is None else time.monotonic() + timeout):
            job = update if isinstance(update, Job) else job
        assert job is not None, "a watch begins with the job"
        if job.state is State.CANCELLED:
            raise JobCancelled(job, f"job {job.id} was cancelled", "job_cancelled")
        if job.state is State.FAILED:
            raise JobFailed(
                job, job.error.message if job.error else "the job failed", job.error.code if job.error else "job_failed"
            )
        return job

    def _change(self, verb: str, request: Any, key: str | None) -> Job:
        return _job(self._rpc.change(JobsStub, verb, request, key).job)

    def _watch(self, id: str, after: int, until: float | None) -> Iterator[Job | Event]:
        self._rpc.connect()  # has retries of its own
        seen: Job | None = None
        failed = 0
        while True:
            cut: StropError = Unavailable(f"the watch of job {id} ended before the job did")
            try:
                request = jobs_pb2.JobsWatchRequest(id=id, after=after)
                for message in self._rpc.stream(JobsStub, "Watch", request, _left(id, seen, until)):
                    failed = 0
                    if message.WhichOneof("update") == "event":
                        if message.event.number > after:
                            after = message.event.number
                            yield read(Event, plain(message.event))
                    elif message.HasField("job") and (job := _job(message.job)) != seen:
                        seen = job
                        yield job
                if seen and (seen.state.ended or seen.state is State.UNKNOWN):
                    return
            except (Unavailable, RateLimited) as error:
                cut = error
            failed += 1
            wait = (RECONNECTS if seen else self._rpc.retries).wait(failed, cut)
            left = _left(id, seen, until)
            if wait is None:
                raise cut
            time.sleep(wait if left is None else min(wait, left))


def _left(id: str, seen: Job | None, until: float | None) -> float | None:
    """Seconds until `until`. Raises TimeoutError when it is over."""
    if until is None:
        return None
    if (left := until - time.monotonic()) <= 0:
        raise TimeoutError(f"job {id} is {seen.state if seen else 'out of sight'} when the time is over")
    return left


def _named(state: State | str | None) -> str | None:
    if state is None:
        return None
    named = State(state)
    if named is State.UNKNOWN:
        known = ", ".join(each for each in State if each is not State.UNKNOWN)
        wrong = FieldError("state", f"there is no state {state!r}", f"choose one of {known}")
        raise InvalidRequest(f"state: {wrong.message}", errors=(wrong,))
    return f"JOB_STATE_{named.upper()}"


def _job(message: jobs_pb2.Job) -> Job:
    return read(Job, plain(message))
