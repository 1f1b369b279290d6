"""Small real servers on loopback that answer as a test tells them to: to fail twice, to be cut off, to be of the future."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from strop.v1 import jobs_pb2, jobs_pb2_grpc

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


@dataclass
class Rpc(jobs_pb2_grpc.JobsServicer):
    """The Jobs service: each call of a verb takes its next behaviour, the last one for ever."""

    script: dict[str, list[Behaviour]] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._next("Create", request, context)

    def Get(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._next("Get", request, context)

    def List(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._next("List", request, context)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._next("Cancel", request, context)

    def Pause(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._next("Pause", request, context)

    def Resume(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._next("Resume", request, context)

    def Retry(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._next("Retry", request, context)

    def Clone(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._next("Clone", request, context)

    def Certificate(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._next("Certificate", request, context)

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Any:
        yield from self._next("Watch", request, context)

    def _next(self, verb: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        self.metadata.append({each.key: each.value for each in context.invocation_metadata()})
        behaviours = self.script[verb]
        return (behaviours.pop(0) if len(behaviours) > 1 else behaviours[0])(request, context)


@contextmanager
def rpc_server(at_once: int | None = None, **script: list[Behaviour]) -> Iterator[Rpc]:
    """`at_once`: calls above so many are refused by gRPC itself."""
    rpc = Rpc(script)
    server = grpc.server(ThreadPoolExecutor(4), maximum_concurrent_rpcs=at_once)
    jobs_pb2_grpc.add_JobsServicer_to_server(rpc, server)
    rpc.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield rpc
    server.stop(None).wait(5)


def answer(message: Any) -> Behaviour:
    return lambda request, context: message


def refuse(code: grpc.StatusCode, words: str = "", *metadata: tuple[str, str | bytes]) -> Behaviour:
    def behave(request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata(metadata)
        context.abort(code, words)

    return behave


def stream(*messages: Any, then: grpc.StatusCode | None = None) -> Behaviour:
    def behave(request: Any, context: grpc.ServicerContext) -> Any:
        yield from messages
        if then:
            context.abort(then, "cut")

    return behave


def job(state: int = jobs_pb2.JOB_STATE_RUNNING, step: int = 0, **more: Any) -> jobs_pb2.Job:
    return jobs_pb2.Job(id="job_1", state=state, progress=jobs_pb2.Progress(step=step, steps=9), **more)


def of_job(*given: Any, **named: Any) -> jobs_pb2.JobsWatchResponse:
    return jobs_pb2.JobsWatchResponse(job=job(*given, **named))


def of_event(number: int) -> jobs_pb2.JobsWatchResponse:
    return jobs_pb2.JobsWatchResponse(event=jobs_pb2.Event(number=number, type="job.step"))


@dataclass(frozen=True)
class Reply:
    """One HTTP answer. `cut`: the connection ends in the middle of the body; `body` None: before any answer."""

    status: int = 200
    body: bytes | dict[str, Any] | None = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Http:
    """Each request takes the next reply of its path, the last one for ever."""

    script: dict[str, list[Reply]]
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def seen(self, path: str) -> int:
        return sum(each == path for each, _, _ in self.requests)


@contextmanager
def http_server(script: dict[str, list[Reply]]) -> Iterator[Http]:
    http = Http(script)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            http.requests.append((path, headers, body))
            replies = http.script[path]
            self.give(replies.pop(0) if len(replies) > 1 else replies[0])

        do_POST = do_DELETE = do_GET

        def give(self, reply: Reply) -> None:
            self.close_connection = True
            if reply.body is None:
                return
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if reply.cut else content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield http
    server.shutdown()
    thread.join()
    server.server_close()
