"""Files come whole and checked, or not at all; the key goes to the gateway only."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import strop

from tests.sdk.servers import Http, Reply, http_server

LIST = "/jobs/job_1/artifacts"


def line(http: Http | str, name: str, content: bytes, kind: str = "adapter", fence: int = 1) -> dict[str, Any]:
    url = http if isinstance(http, str) else http.url
    sha256 = hashlib.sha256(content).hexdigest()
    return {
        "kind": kind,
        "name": name,
        "bytes": len(content),
        "sha256": sha256,
        "fence": fence,
        "url": f"{url}/{name}?token=t",
    }


def listing(*lines: dict[str, Any]) -> list[Reply]:
    return [Reply(body={"object": "list", "data": list(lines)})]


def test_the_kinds_asked_for_are_written_and_checked(tmp_path: Path) -> None:
    with http_server({"/a": [Reply(body=b"weights")], "/m": [Reply(body=b"{}")]}) as http:
        http.script[LIST] = listing(
            line(http, "a", b"weights"), line(http, "m", b"{}", "manifest"), line(http, "c", b"c", "checkpoint")
        )
        with strop.Client(http.url, "secret") as client:
            paths = client.artifacts.download("job_1", tmp_path / "new" / "folder")
        assert {path.name: path.read_bytes() for path in paths} == {"a": b"weights", "m": b"{}"}
        assert sorted(path.name for path in paths[0].parent.iterdir()) == ["a", "m"]
        keys = {path: headers.get("authorization") for path, headers, _ in http.requests}
        assert keys == {LIST: "Bearer secret", "/a": None, "/m": None}


def test_a_download_that_was_cut_begins_anew(tmp_path: Path) -> None:
    content = bytes(range(256)) * 2000
    with http_server({"/a": [Reply(body=content, cut=True), Reply(503), Reply(body=content)]}) as http:
        http.script[LIST] = listing(line(http, "a", content))
        with strop.Client(http.url) as client:
            (path,) = client.artifacts.download("job_1", tmp_path)
        assert path.read_bytes() == content


def test_bytes_that_do_not_fit_the_digest_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"of yesterday")
    with http_server({"/a": [Reply(body=b"other")]}) as http:
        http.script[LIST] = listing(line(http, "a", b"weights"))
        with strop.Client(http.url) as client, pytest.raises(strop.Damaged, match="SHA-256"):
            client.artifacts.download("job_1", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"of yesterday"}


def test_where_two_attempts_made_a_file_the_later_counts(tmp_path: Path) -> None:
    with http_server({"/a": [Reply(body=b"late")]}) as http:
        http.script[LIST] = listing(line(http, "a", b"late", fence=2), line(http, "a", b"early", fence=1))
        with strop.Client(http.url) as client:
            assert [path.read_bytes() for path in client.artifacts.download("job_1", tmp_path)] == [b"late"]


@pytest.mark.parametrize("name", ["../a", "/etc/a", "..", "a/b", ""])
def test_a_name_that_leads_elsewhere_is_not_written(name: str, tmp_path: Path) -> None:
    listed = listing(line("http://127.0.0.1:9", name, b""))
    with (
        http_server({LIST: listed}) as http,
        strop.Client(http.url) as client,
        pytest.raises(strop.Damaged, match="not the name of a file"),
    ):
        client.artifacts.download("job_1", tmp_path / "in")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_links_with_a_token_are_asked_of_the_gateway_as_the_client_reaches_it(tmp_path: Path) -> None:
    with http_server({"/a": [Reply(body=b"weights")]}) as http:
        http.script[LIST] = listing(line("http://name-behind-the-proxy", "a", b"weights"))
        with strop.Client(http.url) as client:
            assert [each.url for each in client.artifacts.list("job_1")] == [f"{http.url}/a?token=t"]
            assert [path.read_bytes() for path in client.artifacts.download("job_1", tmp_path)] == [b"weights"]


@pytest.mark.parametrize("told", ["http://behind/strop", "http://behind"])
def test_a_gateway_under_a_path_is_asked_under_it_once(told: str) -> None:
    with http_server({}) as http:
        http.script["/strop" + LIST] = listing(line(told, "a", b""))
        with strop.Client(f"{http.url}/strop") as client:
            assert [each.url for each in client.artifacts.list("job_1")] == [f"{http.url}/strop/a?token=t"]


def test_a_presigned_link_leads_where_it_says() -> None:
    presigned = "https://files.example/bucket/a?X-Amz-Signature=s&X-Amz-Expires=900"
    with (
        http_server({LIST: listing(line("", "a", b"") | {"url": presigned})}) as http,
        strop.Client(http.url) as client,
    ):
        assert [each.url for each in client.artifacts.list("job_1")] == [presigned]


def test_a_redirect_is_refused_as_one_and_not_taken_for_the_file(tmp_path: Path) -> None:
    moved = Reply(308, b"<html>", {"Location": "https://strop.example/a?token=t"})
    with http_server({"/a": [moved]}) as http:
        http.script[LIST] = listing(line(http, "a", b"weights"))
        with strop.Client(http.url) as client, pytest.raises(strop.StropError) as caught:
            client.artifacts.download("job_1", tmp_path)
    assert caught.value.status == 308
    assert caught.value.message.endswith("points to https://strop.example/a; give the address that needs no redirect")
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_kinds_is_said(tmp_path: Path) -> None:
    nothing = pytest.raises(strop.NotFound, match="no file of kind adapter or manifest")
    with http_server({LIST: listing()}) as http, strop.Client(http.url) as client, nothing:
        client.artifacts.download("job_1", tmp_path)
