"""Every route and method needs the key, but for those that DESIGN.md calls public: found by listing, not by remembering."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.rest.calls import KEY, Gateway

PUBLIC = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/.well-known/strop"), ("GET", "/.well-known/strop-keys")}
PUBLIC |= {(method, path) for method in ("GET", "HEAD") for path in ("/", "/ui/{name}")}


def routes(app: FastAPI) -> Iterator[tuple[str, str, bool]]:
    """(method, path, does the OpenAPI file tell it) of every route."""
    for route in iter_route_contexts(app.routes):
        for method in sorted(route.methods or {"GET"}):
            yield method, str(route.path), bool(route.include_in_schema)


def filled(path: str) -> str:
    return path.format(id="job_1", fence=1, name="x", alias="x")


def test_no_route_but_the_public_ones_answers_without_the_key(gateway: Gateway) -> None:
    listed = list(routes(gateway.client.app))  # type: ignore[arg-type]
    assert len(listed) >= 16
    open_ones = set()
    for method, path, _ in listed:
        for given in ({"Authorization": ""}, {"Authorization": f"Bearer {KEY[:-1]}"}):
            answer = gateway.client.request(method, filled(path), headers=given)
            if answer.status_code != 401:
                open_ones.add((method, path))
                continue
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="strop"'
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert method == "HEAD" or answer.json()["code"] == "unauthenticated"
    assert open_ones == PUBLIC


def test_every_route_answers_with_the_key(gateway: Gateway) -> None:
    for method, path, _ in routes(gateway.client.app):  # type: ignore[arg-type]
        assert gateway.client.request(method, filled(path)).status_code not in (401, 403, 500), (method, path)


def test_every_route_is_in_the_openapi_file_and_says_whether_it_needs_the_key(gateway: Gateway) -> None:
    paths = gateway.get("/openapi.json").json()["paths"]
    for method, path, told in routes(gateway.client.app):  # type: ignore[arg-type]
        if told:
            assert ("security" in paths[path][method.lower()]) == ((method, path) not in PUBLIC)
    assert sum(map(len, paths.values())) == sum(told for *_, told in routes(gateway.client.app))  # type: ignore[arg-type]


def test_without_a_key_only_this_machine_is_answered(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STROP_API_KEY")
    app = create_app(Settings())
    with (
        TestClient(app, base_url="http://127.0.0.1:8000") as here,
        TestClient(app, base_url="http://else.example") as there,
    ):
        assert here.get("/rewards").status_code == 200
        assert there.get("/rewards").json()["code"] == "foreign_host"
