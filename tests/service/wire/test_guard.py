"""What stands before every route of both HTTP apps."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient

from service.domain.errors import Conflict, StropError, Unavailable
from service.domain.principals import LOCAL
from service.wire import problems
from service.wire.guard import Guard
from service.wire.links import Links

KEY = "a-key-of-sixteen"
LINKS = Links(b"k" * 16, lambda: datetime(2026, 1, 1, tzinfo=UTC))
BEARER = {"Authorization": f"Bearer {KEY}"}


class Unmapped(StropError):
    """Nobody gave this one a status; the secret is 42."""


def make_app() -> FastAPI:
    app = FastAPI(openapi_url=None)
    problems.install(app)

    @app.api_route("/echo", methods=["GET", "POST"])
    @app.get("/healthz")
    async def echo(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    @app.get("/raise/{kind}")
    def fail(kind: str) -> None:
        raise {"busy": Unavailable("The queue is away."), "bug": ValueError("secret"), "new": Unmapped()}.get(
            kind, Conflict()
        )

    return app


def client(key: str | None = KEY, host: str = "testserver") -> TestClient:
    app = make_app()
    app.add_middleware(Guard, key=key, links=LINKS, bounds={"/echo": 10})
    return TestClient(app, base_url=f"http://{host}")


class TestKey:
    def test_opens(self) -> None:
        assert client().get("/echo", headers=BEARER).status_code == 200
        assert client().get("/echo", headers={"Authorization": f"bearer  {KEY} "}).status_code == 200

    @pytest.mark.parametrize(
        "given", ["", KEY, f"Basic {KEY}", "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer \u00e9".encode()]
    )
    def test_wrong_or_missing_is_401(self, given: str | bytes) -> None:
        answer = client().get("/echo", headers={"Authorization": given})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="strop"'
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "unauthenticated"

    def test_stands_before_routing(self) -> None:
        assert client().get("/no/such/route").status_code == 401
        assert client().get("/no/such/route", headers=BEARER).status_code == 404

    def test_is_not_asked_where_public(self) -> None:
        assert client().get("/healthz").status_code == 200
        assert client().get("/.well-known/anything").status_code == 404

    @pytest.mark.parametrize("path", ["/", "/ui/app.js", "/healthz"])
    def test_is_not_asked_for_reading_only(self, path: str) -> None:
        assert client().get(path).status_code != 401
        assert client().head(path).status_code != 401
        assert client().post(path).status_code == 401

    def test_a_token_opens_its_path_to_read_only(self) -> None:
        token, _ = LINKS.token(LOCAL, "/echo")
        assert client().get("/echo", params={"token": token}).status_code == 200
        assert client().post("/echo", params={"token": token}).status_code == 401
        assert client().get("/raise/busy", params={"token": token}).json()["code"] == "link_invalid"


class TestWithoutKey:
    @pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000"])
    def test_this_machine_is_answered(self, host: str) -> None:
        assert client(None, host).get("/echo").status_code == 200

    def test_a_rebound_name_is_not(self) -> None:
        assert client(None, "evil.example").get("/echo").json()["code"] == "foreign_host"

    @pytest.mark.parametrize("origin", ["https://evil.example", "null"])
    def test_another_sites_page_is_not(self, origin: str) -> None:
        answer = client(None, "127.0.0.1").post("/echo", headers={"Origin": origin})
        assert answer.status_code == 403

    def test_its_own_page_is(self) -> None:
        assert client(None, "127.0.0.1").get("/echo", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200


def pieces(*parts: bytes) -> Iterator[bytes]:
    yield from parts


class TestBound:
    def test_of_a_stated_length(self) -> None:
        assert client().post("/echo", content=b"0123456789", headers=BEARER).status_code == 200
        assert client().post("/echo", content=b"0123456789!", headers=BEARER).status_code == 413

    def test_of_a_body_that_states_none(self) -> None:
        answer = client().post("/echo", content=pieces(b"01234", b"56789!"), headers=BEARER)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")

    def test_is_told_in_a_size_that_is_not_rounded_away(self) -> None:
        assert "larger than 10 bytes" in client().post("/echo", content=b"0123456789!", headers=BEARER).json()["detail"]


class TestRequestId:
    def test_is_echoed_where_it_fits(self) -> None:
        answer = client().get("/raise/busy", headers={**BEARER, "X-Request-ID": "abc-1.2_3"})
        assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "abc-1.2_3"

    @pytest.mark.parametrize("given", ["", "a b", "a" * 65, "<script>", "a\u00e9".encode()])
    def test_is_made_where_it_does_not(self, given: str | bytes) -> None:
        answer = client().get("/echo", headers={"X-Request-ID": given})
        assert answer.headers["X-Request-ID"].startswith("req_")


class TestFailures:
    def test_a_domain_error_is_its_problem(self) -> None:
        answer = client().get("/raise/busy", headers=BEARER)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.json() == {
            "type": "urn:strop:problem:unavailable",
            "title": "A part that this needs is away for the moment; try again.",
            "status": 503,
            "detail": "The queue is away.",
            "code": "unavailable",
            "errors": [],
            "request_id": answer.headers["X-Request-ID"],
        }

    @pytest.mark.parametrize("kind", ["bug", "new"])
    def test_what_nobody_expected_tells_nothing_and_is_logged(
        self, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = client().get(f"/raise/{kind}", headers=BEARER)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "secret" not in answer.text
        assert "secret" in caplog.text

    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nothing", 404, "route_not_found"),
            ("DELETE", "/echo", 405, "method_not_allowed"),
        ],
    )
    def test_a_wrong_route_or_method_is_a_problem_too(self, method: str, path: str, status: int, code: str) -> None:
        answer = client().request(method, path, headers=BEARER)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
