"""A process that works for an attempt: in a session of its own, with next to no environment, spoken to over two pipes.

All that it starts dies with it (one process group). It inherits no credentials: only the variables listed here.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from worker import pipe

CHILD = (sys.executable, "-P", "-m", "worker.child")
"""-P: the scratch folder, where it starts, is no place to import from."""

PACKAGE_ROOT = str(Path(__file__).parents[2])
"""Where the package `worker` lies: a child runs the code of its parent, installed or not."""

_PASSED_ON = (
    "PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "TZ",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
)  # fmt: skip
_MAX_LINE = 1_000
_PARTING_SECONDS = 1.0


def bare_environment(scratch: Path, threads: int, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a child sees: how to find its libraries and the device, and that there is no network. No HOME, no keys."""
    count = str(threads)
    return {name: inherited[name] for name in _PASSED_ON if name in inherited} | {
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(scratch / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": PACKAGE_ROOT,
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(scratch),
    }


class Process:
    """Started at once. `send` and `kill` may be called from any thread, also after its end."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path) -> None:
        down_read, down_write = os.pipe()
        up_read, up_write = os.pipe()
        try:
            self._popen = subprocess.Popen(
                [*command, str(down_read), str(up_write)],
                pass_fds=(down_read, up_write),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        except BaseException:
            os.close(down_write)
            os.close(up_read)
            raise
        finally:
            os.close(down_read)
            os.close(up_write)
        self._up: IO[bytes] = os.fdopen(up_read, "rb")
        self._letters: SimpleQueue[pipe.Message | None] = SimpleQueue()
        self._sender = threading.Thread(target=self._send_letters, args=(os.fdopen(down_write, "wb"),), daemon=True)
        self._reaper = threading.Thread(target=self._reap, daemon=True)
        self._sender.start()
        self._reaper.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def send(self, message: pipe.Message) -> None:
        """Say it, if there is still somebody to listen. Never waits for a process that does not read."""
        self._letters.put(message)

    def messages(self) -> Iterator[pipe.Message]:
        """What it says, until it closes its pipe. Raises Garbled."""
        yield from pipe.receive(self._up)

    def output(self) -> Iterator[str]:
        """Lines of its stdout and stderr, over-long ones cut in pieces, until all who hold it have closed it."""
        stream = self._popen.stdout
        assert stream is not None
        for line in iter(lambda: stream.readline(_MAX_LINE), b""):
            yield line.decode(errors="replace").rstrip()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    @property
    def is_gone(self) -> bool:
        """It has ended and has been waited for: its memory, the device's too, is free."""
        return not self._reaper.is_alive()

    def end(self, seconds: float, kill_seconds: float) -> bool:
        """Give it `seconds` to go, then kill it, and its group with it. Is it gone `kill_seconds` after that at last?

        A process inside a system call that does not return (a driver, a network disk) outlives even SIGKILL for a while.
        """
        self._reaper.join(seconds)
        self.kill()
        self._reaper.join(kill_seconds)
        return self.is_gone

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code (minus the signal that ended it); killed if it is not gone in time. Its group goes with it."""
        self._reaper.join(seconds)
        self.kill()
        self._reaper.join()
        return int(self._popen.returncode)

    def close_words(self) -> None:
        """No more of `messages`."""
        self._up.close()

    def close_output(self) -> None:
        """No more of `output`."""
        if self._popen.stdout is not None:
            self._popen.stdout.close()

    def hang_up(self) -> None:
        """No more of `send`."""
        self._letters.put(None)
        self._sender.join(_PARTING_SECONDS)

    def close(self) -> None:
        """Close our ends, once its end has been waited for and nobody reads them any more."""
        self.hang_up()
        self.close_words()
        self.close_output()

    def _send_letters(self, down: IO[bytes]) -> None:
        with suppress(BrokenPipeError), down:  # that nobody listens any more is seen on the other pipe
            while (message := self._letters.get()) is not None:
                pipe.send(down, message)

    def _reap(self) -> None:
        """What it started would hold its pipes open for ever; so its end is seen here, and is theirs too."""
        self._popen.wait()
        self._kill_group(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._reaper.is_alive():
            self._kill_group(number)

    def _kill_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
