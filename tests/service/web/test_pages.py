"""The page's static files, by the real gateway: public, strict, and nothing but those files."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from service.web import pages
from tests.service.running import KEY

FILES = sorted(file.name for file in pages.STATIC.iterdir())
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.fixture
def browser(settings: Settings) -> Iterator[TestClient]:
    """One that has no key."""
    with TestClient(create_app(settings)) as client:
        yield client


def policy(headers: dict[str, str]) -> dict[str, str]:
    """Directive → its sources."""
    parts = (part.strip().partition(" ") for part in headers["Content-Security-Policy"].split(";"))
    return {name: sources for name, _, sources in parts}


class TestFiles:
    @pytest.mark.parametrize("name", FILES)
    def test_each_is_public_and_has_its_type(self, browser: TestClient, name: str) -> None:
        answer = browser.get(f"/ui/{name}")
        assert answer.status_code == 200
        assert answer.content == (pages.STATIC / name).read_bytes()
        assert answer.headers["Content-Type"].split(";")[0] == TYPES[Path(name).suffix]

    def test_the_root_is_the_page(self, browser: TestClient) -> None:
        assert browser.get("/").content == (pages.STATIC / "index.html").read_bytes()

    def test_the_rest_face_beside_them_still_needs_the_key(self, browser: TestClient) -> None:
        assert browser.get("/jobs").status_code == 401
        assert browser.get("/jobs", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    @pytest.mark.parametrize("path", ["/", "/ui/app.js"])
    def test_are_only_read(self, browser: TestClient, method: str, path: str) -> None:
        assert browser.request(method, path).status_code == 401
        allowed = browser.request(method, path, headers={"Authorization": f"Bearer {KEY}"})
        assert allowed.status_code == 405

    @pytest.mark.parametrize("path", ["/", "/ui/app.js"])
    def test_head_says_what_get_would_send_and_sends_nothing(self, browser: TestClient, path: str) -> None:
        head, whole = browser.head(path), browser.get(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("Content-Length", "Content-Type", "ETag", "Content-Security-Policy"):
            assert head.headers[name] == whole.headers[name]

    def test_come_once_while_they_stay_the_same(self, browser: TestClient) -> None:
        tag = browser.get("/ui/app.js").headers["ETag"]
        again = browser.get("/ui/app.js", headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert browser.get("/ui/app.js", headers={"If-None-Match": '"another"'}).status_code == 200
        assert again.headers["Cache-Control"] == "no-cache"

    @pytest.mark.parametrize(
        "path",
        [
            "/ui/", "/ui/nothing.js", "/ui/../pages.py", "/ui/..%2fpages.py", "/ui/%2e%2e/pages.py", "/ui/..%5cpages.py",
            "/ui/static/app.js", "/ui/app.js%00", "/ui/%2fetc%2fpasswd", "/ui//etc/passwd", "/ui/.",
        ],
    )  # fmt: skip
    def test_no_other_path_leads_to_a_file(self, browser: TestClient, path: str) -> None:
        answer = browser.get(path, headers={"Authorization": f"Bearer {KEY}"})
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"


class TestHeaders:
    @pytest.mark.parametrize("path", ["/", "/ui/app.js"])
    def test_let_nothing_foreign_in_and_tell_nothing_outside(self, browser: TestClient, path: str) -> None:
        headers = browser.get(path).headers
        assert policy(headers)["default-src"] == "'self'"
        assert policy(headers)["img-src"] == "'self' data: blob:"
        assert "script-src" not in policy(headers)
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"

    def test_pictures_may_come_from_the_store_that_the_operator_opened(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STROP_S3_PUBLIC_URL", "https://files.example:9000/some/path")
        with TestClient(create_app(Settings())) as browser:
            assert policy(browser.get("/").headers)["img-src"] == "'self' data: blob: https://files.example:9000"


class TestMarkup:
    def test_holds_no_script_or_style_of_its_own(self) -> None:
        page = (pages.STATIC / "index.html").read_text()
        assert re.findall(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", page) == []

    @pytest.mark.parametrize("name", FILES)
    def test_names_no_other_host(self, name: str) -> None:
        addresses = set(re.findall(r"https?://[^\s\"'<>)]+", (pages.STATIC / name).read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}
