import os
import signal
import sys
from pathlib import Path

import pytest

from worker import pipe
from worker.attempt.process import Process, bare_environment

SECRETS = {
    "PATH": os.environ["PATH"],
    "AWS_SECRET_ACCESS_KEY": "s",
    "HF_TOKEN": "t",
    "STROP_API_KEY": "k",
    "HOME": "/h",
}


def start(folder: Path, code: str) -> Process:
    return Process([sys.executable, "-c", code], environment=bare_environment(folder, 1), folder=folder)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def finish(process: Process, seconds: float = 10) -> int:
    code = process.wait(seconds)
    process.close()
    return code


class TestEnvironment:
    def test_carries_no_credentials_and_no_home(self, tmp_path: Path) -> None:
        assert (
            not {"AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "STROP_API_KEY", "HOME"}
            & bare_environment(tmp_path, 1, SECRETS).keys()
        )

    def test_bounds_threads_and_keeps_libraries_off_the_network(self, tmp_path: Path) -> None:
        environment = bare_environment(tmp_path, 3, SECRETS)
        assert environment["OMP_NUM_THREADS"] == "3"
        assert environment["HF_HUB_OFFLINE"] == "1"

    @pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "CUDA_VISIBLE_DEVICES"])
    def test_passes_on_what_the_operator_says_of_the_device(self, tmp_path: Path, name: str) -> None:
        assert bare_environment(tmp_path, 1, {name: "given"})[name] == "given"

    def test_is_all_that_the_process_sees(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STROP_API_KEY", "a very secret key")
        process = start(tmp_path, "import os; print(*os.environ.values())")
        printed = list(process.output())
        assert finish(process) == 0
        assert "a very secret key" not in " ".join(printed)


class TestTalk:
    def test_goes_both_ways(self, tmp_path: Path) -> None:
        echo = """if 1:
            import os, sys
            from worker import pipe
            down, up = (os.fdopen(int(n), m) for n, m in zip(sys.argv[-2:], ("rb", "wb")))
            pipe.send(up, next(pipe.receive(down)))
        """
        process = start(tmp_path, echo)
        process.send(pipe.Tick(1.5))
        assert list(process.messages()) == [pipe.Tick(1.5)]
        assert finish(process) == 0

    def test_to_a_process_that_does_not_read_never_waits(self, tmp_path: Path) -> None:
        process = start(tmp_path, "import signal; signal.pause()")
        for _ in range(10_000):
            process.send(pipe.Stop("cancel", False))
        process.kill()
        assert finish(process) == -signal.SIGKILL

    def test_to_a_process_that_is_gone_is_no_error(self, tmp_path: Path) -> None:
        process = start(tmp_path, "")
        assert process.wait(10) == 0
        process.send(pipe.Tick(1))
        process.kill()
        process.close()

    def test_of_a_printed_line_comes_in_pieces_of_bounded_length(self, tmp_path: Path) -> None:
        process = start(tmp_path, "print('x' * 2500)")
        assert [len(line) for line in process.output()] == [1000, 1000, 500]
        finish(process)


class TestEnd:
    def test_of_one_that_will_not_go_is_a_kill(self, tmp_path: Path) -> None:
        code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
        process = start(tmp_path, code)
        assert next(process.output()) == "deaf"
        process.terminate()
        assert finish(process, 0.05) == -signal.SIGKILL

    def test_takes_along_whatever_the_process_started(self, tmp_path: Path) -> None:
        process = start(
            tmp_path, "import os, signal; child = os.fork(); print(child, flush=True) if child else signal.pause()"
        )
        assert next(process.output()).isdigit()
        assert process.wait(10) == 0
        assert list(process.output()) == []  # it ends: nobody holds the pipe any more
        process.close()

    def test_leaves_no_descriptor_open(self, tmp_path: Path) -> None:
        before = open_descriptors()
        process = start(tmp_path, "")
        finish(process)
        assert open_descriptors() == before
