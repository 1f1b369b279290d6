"""The cache's folder: bounded, whole files only, and shared with processes that remove what they like."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from worker.inference.adapters.disk import ABANDONED_SECONDS, ADAPTER, ASIDE, MANIFEST, DiskLevel

SHA = [f"{number:064x}" for number in range(10)]


@pytest.fixture
def disk(tmp_path: Path) -> DiskLevel:
    return DiskLevel(tmp_path / "adapters", 300)


def age(folder: Path, sha256: str, seconds: float) -> None:
    """As if it had been used so long ago."""
    for path in folder.rglob(f"{sha256}*"):
        before = path.stat().st_mtime - seconds
        os.utime(path, (before, before))


def test_what_is_written_is_read_in_its_tenants_place(disk: DiskLevel) -> None:
    disk.write("local", SHA[0], ADAPTER, b"weights")
    assert disk.read("local", SHA[0], ADAPTER) == b"weights"
    assert disk.read("other", SHA[0], ADAPTER) is disk.read("local", SHA[0], MANIFEST) is None


@pytest.mark.parametrize("tenant", ["local", "..", ".", "a/b", "a@b.c", "%2E", "é ü", "A"])
def test_whatever_a_tenant_is_called_it_stays_inside(disk: DiskLevel, tmp_path: Path, tenant: str) -> None:
    disk.write(tenant, SHA[0], ADAPTER, b"weights")
    assert disk.adapters() == {(tenant, SHA[0])}
    (written,) = tmp_path.rglob("*.safetensors")
    assert written.resolve().parent.parent == (tmp_path / "adapters").resolve()


def test_the_least_recently_used_makes_room(disk: DiskLevel, tmp_path: Path) -> None:
    for number in range(3):
        disk.write("local", SHA[number], ADAPTER, bytes(100))
        age(tmp_path, SHA[number], 100 - number)
    disk.read("local", SHA[0], ADAPTER)
    disk.write("local", SHA[3], ADAPTER, bytes(100))
    assert disk.adapters() == {("local", SHA[number]) for number in (0, 2, 3)}
    assert disk.bytes == 300


def test_what_is_larger_than_all_of_it_is_not_kept(disk: DiskLevel) -> None:
    disk.write("local", SHA[0], ADAPTER, bytes(10))
    disk.write("local", SHA[1], ADAPTER, bytes(301))
    assert disk.adapters() == {("local", SHA[0])}


def test_dropping_takes_file_and_manifest_of_every_tenant(disk: DiskLevel) -> None:
    for tenant in ("local", "other"):
        disk.write(tenant, SHA[0], ADAPTER, b"weights")
        disk.write(tenant, SHA[0], MANIFEST, b"{}")
    disk.write("local", SHA[1], ADAPTER, b"weights")
    disk.drop(SHA[0])
    assert (disk.adapters(), disk.bytes) == ({("local", SHA[1])}, 7)


def test_what_a_dead_process_left_half_written_goes_and_what_a_living_one_writes_stays(
    disk: DiskLevel, tmp_path: Path
) -> None:
    disk.write("local", SHA[0], ADAPTER, b"weights")
    folder = tmp_path / "adapters" / "local"
    for name, old in (("old", 2 * ABANDONED_SECONDS), ("new", 0)):
        (folder / f"{ASIDE}{name}").write_bytes(b"half")
        age(tmp_path, f"{ASIDE}{name}", old)
    disk.write("local", SHA[1], ADAPTER, b"weights")
    assert {path.name for path in folder.iterdir() if path.name.startswith(ASIDE)} == {f"{ASIDE}new"}
    assert disk.adapters() == {("local", SHA[0]), ("local", SHA[1])}


def test_a_folder_that_goes_is_made_again(disk: DiskLevel, tmp_path: Path) -> None:
    disk.write("local", SHA[0], ADAPTER, b"weights")
    (tmp_path / "adapters").rename(tmp_path / "gone")
    assert disk.read("local", SHA[0], ADAPTER) is None
    assert (disk.adapters(), disk.bytes) == (set(), 0)
    disk.write("local", SHA[0], ADAPTER, b"weights")
    assert disk.read("local", SHA[0], ADAPTER) == b"weights"


RIVAL = """
import sys
from pathlib import Path
from worker.inference.adapters.disk import ADAPTER, DiskLevel
disk, names = DiskLevel(Path(sys.argv[1]), 1000), ["%064x" % number for number in range(20)]
print("ready", flush=True)
for turn in range(150):
    name = names[turn * 7 % 20]
    data = disk.read("local", name, ADAPTER)
    assert data is None or data == name.encode() * 3, data
    if data is None:
        disk.write("local", name, ADAPTER, name.encode() * 3)
    if turn % 5 == 0:
        disk.drop(names[turn * 3 % 20])
"""


def test_processes_that_write_and_remove_side_by_side_find_whole_files_or_none(tmp_path: Path) -> None:
    """A thousand bytes have room for five of twenty files: each write removes others' files under them."""
    words = [sys.executable, "-c", RIVAL, str(tmp_path / "adapters")]
    rivals = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    said = [rival.communicate(timeout=120) for rival in rivals]
    assert [(rival.returncode, errors) for rival, (_, errors) in zip(rivals, said, strict=True)] == [(0, b"")] * 3
    disk = DiskLevel(tmp_path / "adapters", 1000)
    disk.write("local", SHA[0], ADAPTER, b"x")
    assert disk.bytes <= 1000
    assert not list(tmp_path.rglob(f"{ASIDE}*"))


def test_threads_too(disk: DiskLevel) -> None:
    wrong: list[object] = []

    def work(own: int) -> None:
        for turn in range(40):
            sha256 = SHA[(own + turn) % 5]
            disk.write("local", sha256, ADAPTER, sha256.encode())
            data = disk.read("local", SHA[turn % 5], ADAPTER)
            if data is not None and data != SHA[turn % 5].encode():
                wrong.append(data)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
