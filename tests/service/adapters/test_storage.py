"""What every store does, on a folder and on a real S3 server; then what only one of them must mind."""

import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.adapters import storage
from service.adapters.storage import s3 as s3_module
from service.domain.errors import Damaged, Unavailable
from service.domain.outside import Store
from tests.servers.seaweed import S3

BIG = bytes(range(256)) * 4096 * 17  # 17 MiB: two parts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"0123456789")
    return path


@pytest.fixture
def half_done(store: Store, tmp_path: Path) -> Callable[[], None]:
    """A write that was interrupted: a file aside, the first part of a large object."""

    def folder() -> None:
        (tmp_path / "store" / ".part-0123").write_bytes(b"01")

    def s3() -> None:
        client, bucket, prefix = store._client, store._bucket, store._prefix  # type: ignore[attr-defined]
        client.create_multipart_upload(Bucket=bucket, Key=f"{prefix}jobs/half")

    return folder if isinstance(store, storage.FolderStore) else s3


def whole(store: Store, key: str, *span: int) -> bytes:
    return b"".join(store.open(key, *span))


class TestAStore:
    def test_gives_back_what_it_took(self, store: Store, file: Path, tmp_path: Path) -> None:
        store.put_file("jobs/j/1/a.bin", file)
        assert whole(store, "jobs/j/1/a.bin") == b"0123456789"
        assert store.head("jobs/j/1/a.bin") == 10
        store.get_file("jobs/j/1/a.bin", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"0123456789"

    @pytest.mark.parametrize(
        ("span", "part"), [((3,), b"3456789"), ((0, 4), b"0123"), ((4, 7), b"456"), ((9, 10), b"9"), ((5, 5), b"")]
    )
    def test_gives_ranges(self, store: Store, file: Path, span: tuple[int, ...], part: bytes) -> None:
        store.put_file("a", file)
        assert whole(store, "a", *span) == part

    def test_takes_large_files_in_parts(self, store: Store, file: Path) -> None:
        file.write_bytes(BIG)
        store.put_file("big", file)
        assert store.head("big") == len(BIG)
        assert whole(store, "big") == BIG
        assert whole(store, "big", 16 * 2**20 - 3, 16 * 2**20 + 3) == BIG[16 * 2**20 - 3 : 16 * 2**20 + 3]

    def test_takes_an_empty_file(self, store: Store, file: Path) -> None:
        file.write_bytes(b"")
        store.put_file("empty", file)
        assert (whole(store, "empty"), store.head("empty")) == (b"", 0)

    def test_replaces(self, store: Store, file: Path) -> None:
        for content in (b"one", b"two"):
            file.write_bytes(content)
            store.put_file("a", file)
        assert whole(store, "a") == b"two"

    def test_deletes_again_and_again(self, store: Store, file: Path) -> None:
        store.put_file("a", file)
        for _ in range(2):
            store.delete("a")
        assert store.head("a") is None

    def test_lists_by_prefix(self, store: Store, file: Path) -> None:
        for key in ("jobs/a/1/x", "jobs/a/2/y", "jobs/b/1/x", "files/f"):
            store.put_file(key, file)
        assert sorted(store.list("jobs/a/")) == ["jobs/a/1/x", "jobs/a/2/y"]
        assert sorted(store.list("")) == ["files/f", "jobs/a/1/x", "jobs/a/2/y", "jobs/b/1/x"]
        assert list(store.list("none/")) == []

    def test_says_when_each_file_was_written(self, store: Store, file: Path) -> None:
        for key in ("jobs/a/1/x", "files/f"):
            store.put_file(key, file)
        ((key, written_at),) = store.ages("files/")
        assert key == "files/f"
        assert abs(datetime.now(UTC) - written_at) < timedelta(minutes=5)
        assert sorted(key for key, _ in store.ages("")) == sorted(store.list(""))

    def test_forgets_what_half_done_writes_left_and_nothing_else(
        self, store: Store, file: Path, half_done: Callable[[], None]
    ) -> None:
        store.put_file("whole", file)
        half_done()
        now = datetime.now(UTC)
        assert store.forget_half_done(now - timedelta(days=1)) == 0
        assert store.forget_half_done(now + timedelta(days=1)) == 1
        assert store.forget_half_done(now + timedelta(days=1)) == 0
        assert whole(store, "whole") == b"0123456789"

    def test_what_is_missing_is_damage_and_leaves_nothing(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(Damaged):
            store.open("nowhere")  # at once, before the first piece is asked for
        with pytest.raises(Damaged):
            store.get_file("nowhere", tmp_path / "back")
        assert not (tmp_path / "back").exists()
        assert store.head("nowhere") is None


class TestAFolder:
    @pytest.mark.parametrize(
        "key", ["../x", "a/../../x", "/etc/passwd", "", "a//b", "a/", ".hidden", "a\0b", "a\\b", "a/./b"]
    )
    def test_no_key_leads_out_of_it(self, folder_store: Store, file: Path, key: str) -> None:
        for use in (
            lambda: folder_store.put_file(key, file),
            lambda: whole(folder_store, key),
            lambda: folder_store.head(key),
        ):
            with pytest.raises(ValueError, match="no key"):
                use()

    def test_a_source_that_cannot_be_read_leaves_nothing(self, folder_store: Store, tmp_path: Path) -> None:
        with pytest.raises(Damaged):
            folder_store.put_file("a", tmp_path / "gone")
        assert list((tmp_path / "store").rglob("*")) == []

    def test_a_disk_that_takes_no_more_keeps_the_old_file(
        self, folder_store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder_store.put_file("a", file)
        file.write_bytes(b"new")

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(Unavailable, match="No space left"):
            folder_store.put_file("a", file)
        assert whole(folder_store, "a") == b"0123456789"
        assert list(folder_store.list("")) == ["a"]

    def test_has_no_public_links(self, folder_store: Store) -> None:
        assert folder_store.public_url("a", 60) is None


class TestS3:
    def test_a_public_link_works_without_a_key_and_only_for_its_file(
        self, s3_server: S3, s3_store: Store, file: Path
    ) -> None:
        opened = storage.make(f"s3://{s3_server.bucket}/open", s3_server.endpoint, s3_server.endpoint)
        opened.put_file("a", file)
        url = opened.public_url("a", 60)
        assert url is not None
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"0123456789"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url.replace("/a?", "/b?"))
        refused.value.close()
        assert refused.value.code == 403

    def test_without_a_public_address_there_is_none(self, s3_store: Store) -> None:
        assert s3_store.public_url("a", 60) is None

    def test_a_wrong_secret_is_unavailable_with_the_servers_words(
        self, s3_server: S3, s3_store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
        stranger = storage.make(f"s3://{s3_server.bucket}", s3_server.endpoint)
        with pytest.raises(Unavailable):
            stranger.put_file("a", file)

    def test_a_server_that_is_gone_is_unavailable(
        self, s3_store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
            gone = storage.make("s3://strop", f"http://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(Unavailable):
                gone.put_file("a", file)
            with pytest.raises(Unavailable):
                gone.head("a")

    def test_the_prefix_is_not_seen(self, s3_server: S3, s3_store: Store, file: Path) -> None:
        s3_store.put_file("a", file)
        all_of_it = storage.make(f"s3://{s3_server.bucket}", s3_server.endpoint)
        assert [key for key in all_of_it.list("") if key.endswith("/a") and s3_store._prefix in key] != []  # type: ignore[attr-defined]
        assert list(s3_store.list("")) == ["a"]


@pytest.mark.parametrize("url", ["", "ftp://x", "s3://", "/folder", "file"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no store"):
        storage.make(url)


def test_large_files_go_up_in_parts() -> None:
    assert len(BIG) > s3_module.PARTS.multipart_threshold
