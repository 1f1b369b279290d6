import hashlib
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker.child.files import write_whole


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow over 1,000 bytes: the kernel then says EFBIG, as it says ENOSPC on a full disk.

    A block, not a fixture: inside it pytest itself may not write to a log file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


class TestWriteWhole:
    def test_tells_name_size_and_digest(self, tmp_path: Path) -> None:
        made = write_whole(tmp_path, "a.bin", "checkpoint", 7, b"abc")
        assert (made.name, made.kind, made.step, made.bytes) == ("a.bin", "checkpoint", 7, 3)
        assert made.sha256 == hashlib.sha256((tmp_path / "a.bin").read_bytes()).hexdigest()

    def test_leaves_nothing_beside_it(self, tmp_path: Path) -> None:
        write_whole(tmp_path, "a.bin", "checkpoint", 7, b"abc")
        assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]

    def test_on_a_full_disk_keeps_the_file_that_was_there(self, tmp_path: Path) -> None:
        write_whole(tmp_path, "a.bin", "checkpoint", 1, b"old")
        with full_disk(), pytest.raises(OSError, match="too large"):
            write_whole(tmp_path, "a.bin", "checkpoint", 2, b"n" * 5000)
        assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
        assert (tmp_path / "a.bin").read_bytes() == b"old"
